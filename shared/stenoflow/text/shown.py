"""When a word was shown for good: what every latency of words is measured by, with and without machine time."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher


def first_shown(history: Sequence[tuple[float, Sequence[str]]], words: Sequence[str]) -> list[float]:
    """When each word of a final appeared for good: the earliest caption from which on every one shows it at its place.

    A word's place is among its neighbours: words that are put in before it move it and do not revise it.

    Args:
        history: when (any unit), and the plain words of each caption of the utterance; the final last.
        words: the final's, plain.
    """
    shown_at = [history[-1][0]] * len(words)
    kept = set(range(len(words)))
    for when, shown in reversed(history[:-1]):
        blocks = SequenceMatcher(None, words, shown, autojunk=False).get_matching_blocks()
        kept &= {number for block in blocks for number in range(block.a, block.a + block.size)}
        for number in kept:
            shown_at[number] = when
    return shown_at
