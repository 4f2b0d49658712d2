"""Errors of a text against its reference, by word and by letter, and rates with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Counted:
    """Errors and lengths of one utterance."""

    speaker: str
    word_errors: int
    words: int
    letter_errors: int
    letters: int


def count(speaker: str, reference: str, hypothesis: str) -> Counted:
    """Levenshtein errors by word and by character."""
    by_word = jiwer.process_words(reference, hypothesis)
    by_letter = jiwer.process_characters(reference, hypothesis)
    return Counted(
        speaker,
        by_word.substitutions + by_word.deletions + by_word.insertions,
        by_word.substitutions + by_word.deletions + by_word.hits,
        by_letter.substitutions + by_letter.deletions + by_letter.insertions,
        by_letter.substitutions + by_letter.deletions + by_letter.hits,
    )


def rates(counted: Iterable[Counted], *, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """WER and CER in per cent with 95 % intervals from a bootstrap over speakers."""
    sums: dict[str, npt.NDArray[np.int64]] = {}
    for one in counted:
        numbers = np.array([one.word_errors, one.words, one.letter_errors, one.letters])
        sums[one.speaker] = sums.get(one.speaker, np.zeros(4, np.int64)) + numbers
    table = np.stack(list(sums.values()))
    chosen = np.random.default_rng(seed).integers(0, len(table), (draws, len(table)))
    drawn = table[chosen].sum(axis=1)
    total = table.sum(axis=0)

    def interval(values: npt.NDArray[np.float64]) -> list[float]:
        return [round(float(value), 1) for value in np.percentile(values, [2.5, 97.5])]

    return {
        "wer": round(100 * float(total[0] / total[1]), 1),
        "wer_interval": interval(100 * drawn[:, 0] / drawn[:, 1]),
        "cer": round(100 * float(total[2] / total[3]), 1),
        "cer_interval": interval(100 * drawn[:, 2] / drawn[:, 3]),
        "words": int(total[1]),
        "speakers": len(table),
    }


def pairs(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int]]:
    """Places (in reference, in heard) of the words that are right, in the alignment of fewest errors."""
    found = jiwer.process_words(" ".join(reference), " ".join(heard))
    return [
        (chunk.ref_start_idx + at, chunk.hyp_start_idx + at)
        for chunk in found.alignments[0]
        if chunk.type == "equal"
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
