"""Words of a final: where they are in the sound, and how sure the model was.

A word's confidence comes from the geometric mean, over its letters, of each letter's highest posterior within the
frames that the likeliest path gives it; the bundle says how often words are right that the model is so sure of. (The
beam's own posterior says nothing about early words: all its hypotheses share them.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.viterbi import align
from stenoflow.alignment.vocabulary import Vocabulary

SURE = 1e-4
"""As near to 0 and 1 as a model is believed to be."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often a word is right: the logistic of what is linear in the log-odds of what the model says.

    Platt, "Probabilistic outputs for support vector machines", 1999. The default believes the model.

    Args:
        slope: of the word's own log-odds.
        offset: of all words.
        surroundings: of the mean of the log-odds of all words of the utterance: where the model understands little, it
            errs more than it says.
    """

    slope: float = 1.0
    offset: float = 0.0
    surroundings: float = 0.0

    def __call__(self, said: Sequence[float]) -> list[float]:
        """Probabilities, from those that the model says of the words of one utterance."""
        odds = [log_odds(one) for one in said]
        shared = self.offset + self.surroundings * sum(odds) / max(len(odds), 1)
        return [1.0 / (1.0 + math.exp(-(self.slope * own + shared))) for own in odds]


def log_odds(probability: float) -> float:
    """Natural logarithm of p : 1 - p, p at least ``SURE`` away from 0 and 1."""
    within = min(max(probability, SURE), 1.0 - SURE)
    return math.log(within / (1.0 - within))


AS_SAID = Calibration()


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word in the sound.

    Args:
        text: the word.
        begin: position where its first letter begins.
        end: position where its last letter's frames end.
        confidence: in [0, 1].
    """

    text: str
    begin: int
    end: int
    confidence: float


def timed_words(
    text: str,
    log_probs: NDArray[np.float32],
    positions: NDArray[np.int64],
    hop: int,
    vocabulary: Vocabulary,
    calibration: Calibration = AS_SAID,
    tokens: NDArray[np.int32] | None = None,
) -> tuple[TimedWord, ...]:
    """Finds the words of a text in the emissions of its sound.

    Args:
        text: words joined by single spaces.
        log_probs: float32 (U, V), the utterance's frames.
        positions: int64 (U,), where each frame begins, 16 kHz samples.
        hop: samples per frame.
        vocabulary: the tokens.
        calibration: makes confidences of what the model says.
        tokens: int32, how the text was spelled, where that is known and may be more than one way: as in ``align``.

    Returns:
        One a word, in order; begins and ends ascend. Empty where the frames are too few for the text, or where the
        vocabulary cannot spell it.
    """
    if not text:
        return ()
    if tokens is None:
        tokens = vocabulary.spelled(text)
    if tokens is None or not tokens.size:
        return ()
    spoken = align(log_probs, tokens, vocabulary.blank, vocabulary.separator)
    if spoken.size == 0 or spoken.max() != tokens.size - 1:
        return ()
    # The path ascends, so a token's frames are one run.
    speaking = np.flatnonzero(spoken >= 0)
    first = np.searchsorted(spoken[speaking], np.arange(tokens.size), side="left")
    peaks = np.maximum.reduceat(log_probs[speaking, tokens[spoken[speaking]]], first).tolist()
    begins = positions[speaking[first]]
    ends = np.append(positions[speaking[first[1:] - 1]], positions[speaking[-1]]) + hop
    words = vocabulary.words(tokens)
    said = [math.exp(min(0.0, sum(peaks[token] for token in own) / len(own))) for _, own in words]
    return tuple(
        TimedWord(word, int(begins[own[0]]), int(ends[own[-1]]), round(confidence, 4))
        for (word, own), confidence in zip(words, calibration(said), strict=True)
    )


def confidence_of(words: Sequence[TimedWord]) -> float:
    """An utterance's confidence: its words', weighted by their letters; 1 where there are none."""
    letters = sum(len(word.text) for word in words)
    if letters == 0:
        return 1.0
    return round(sum(word.confidence * len(word.text) for word in words) / letters, 4)
