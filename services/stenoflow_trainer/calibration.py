"""What is found on dev for a bundle that stands: true confidences, and the priors of its labels.

Are confidences true? Of the words that are said to be right with probability 0.8, 80 % should be.

Expected calibration error: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
Binning", AAAI 2015; as a curve: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stenoflow.alignment.words import Calibration, log_odds
from stenoflow.base.errors import ConfigError

BINS = 10

Judged = tuple[float, bool]
"""A word's confidence, in [0, 1], and whether the word is right."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The words whose confidence lies in [low, low + 1 / BINS), the last bin with 1.

    Args:
        low: where the bin begins.
        words: how many, at least one.
        confidence: their mean confidence.
        right: share of them that is right.
    """

    low: float
    words: int
    confidence: float
    right: float


def reliability(judged: Sequence[Judged]) -> list[Bin]:
    """The curve: bins of equal width, ascending, without those that hold no word."""
    held: dict[int, list[Judged]] = {}
    for confidence, right in judged:
        held.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    return [
        Bin(
            low=number / BINS,
            words=len(words),
            confidence=sum(confidence for confidence, _ in words) / len(words),
            right=sum(right for _, right in words) / len(words),
        )
        for number, words in sorted(held.items())
    ]


def expected_calibration_error(curve: Sequence[Bin]) -> float:
    """Mean distance of confidence and share of right words, bins weighted by their words; in [0, 1], 0 is best."""
    words = sum(one.words for one in curve)
    return sum(one.words * abs(one.confidence - one.right) for one in curve) / words


ROUNDS = 30
LEAST_SLOPE = 1e-3
"""Of a card's confidences: less says nothing of a word, and rounded as it is written it might be none."""

PRIOR = 1e-2
"""Pull towards believing the model, so that a few words that are all right do not give infinite slopes."""


def fit(utterances: Sequence[Sequence[Judged]]) -> Calibration:
    """The likeliest :class:`Calibration` (Platt 1999), by Newton's method.

    Args:
        utterances: words of each with what the *model* says, not yet calibrated.

    Raises:
        ConfigError: there are no words, or the surer the model is of a word, the rarer it is right.
    """
    rows: list[tuple[float, float, float]] = []
    for words in utterances:
        odds = [log_odds(said) for said, _ in words]
        rows += [(own, 1.0, sum(odds) / len(odds)) for own in odds]
    if not rows:
        raise ConfigError("no_confidence", "no word was understood that a confidence could be learnt from")
    x, right = np.array(rows), np.array([float(right) for words in utterances for _, right in words])
    believed = np.array([1.0, 0.0, 0.0])
    weights = believed.copy()

    def loss(weights: npt.NDArray[np.float64]) -> float:
        likelihood = right @ (x @ weights) - np.logaddexp(0.0, x @ weights).sum()
        return float(PRIOR / 2 * ((weights - believed) ** 2).sum() - likelihood)

    for _ in range(ROUNDS):
        p = np.exp(-np.logaddexp(0.0, -(x @ weights)))
        slope = x.T @ (right - p) - PRIOR * (weights - believed)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + PRIOR * np.eye(3)
        step = np.linalg.solve(curvature, slope)
        while loss(weights + step) > loss(weights) and np.abs(step).max() > 1e-9:
            step = step / 2
        weights = weights + step
    if weights[0] < LEAST_SLOPE:
        raise ConfigError(
            "no_confidence",
            f"{len(rows)} words of dev do not say how sure to be of a word: nothing was written; take more of them",
        )
    return Calibration(*weights.tolist())


def log_priors(emissions: Iterable[npt.NDArray[np.float32]]) -> list[float]:
    """By symbol, natural log of its mean probability over all frames.

    Args:
        emissions: of each utterance, float32 [U, V], natural logarithms.

    Raises:
        ConfigError: there are none.
    """
    sums = [np.append(np.exp(rows, dtype=np.float64).sum(axis=0), len(rows)) for rows in emissions]
    if not sums:
        raise ConfigError("no_priors", "there is no speech that priors could be learnt from")
    *said, frames = np.sum(sums, axis=0).tolist()
    return [math.log(max(one, 1e-9) / frames) for one in said]


def judged(utterances: Sequence[Sequence[Judged]], calibration: Calibration) -> list[Judged]:
    """All words of utterances, with what a calibration makes of what the model says."""
    return [
        (confidence, right)
        for words in utterances
        for confidence, (_, right) in zip(calibration([said for said, _ in words]), words, strict=True)
    ]
