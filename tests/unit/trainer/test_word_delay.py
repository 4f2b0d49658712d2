"""When words are shown for good, and how late that is, on captions made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stenoflow.text.shown import first_shown
from stenoflow_trainer.word_delay import HOP, by_bundle, histogram, summary

LETTERS = {"symbols": [" ", *"abcdefghijklmnopqrstuvwxyz", "'", "<blank>"], "blank": 28, "separator": 0}


def test_a_word_counts_from_when_no_caption_revises_it_any_more() -> None:
    """`cat` comes at 0.48, goes and comes back at 0.80; `the` is there throughout; `sat` comes with the final."""
    history = [
        (0.32, ["the"]),
        (0.48, ["the", "cat"]),
        (0.64, ["the", "cap"]),
        (0.80, ["the", "cat"]),
        (1.28, ["the", "cat", "sat"]),
    ]
    assert first_shown(history, ["the", "cat", "sat"]) == [0.32, 0.80, 1.28]


def test_a_word_that_is_put_in_before_another_does_not_revise_it() -> None:
    history = [(0.32, ["cat"]), (0.48, ["the", "cat"]), (0.64, ["the", "cat"])]
    assert first_shown(history, ["the", "cat"]) == [0.48, 0.32]


def test_a_word_said_twice_is_shown_twice() -> None:
    history = [(0.32, ["no"]), (0.64, ["no", "no"])]
    assert first_shown(history, ["no", "no"]) == [0.32, 0.64]


def test_words_end_with_their_last_letter() -> None:
    """Frames of 20 ms: blank, a, b, separator, c, blank: `ab` ends at 60 ms, `c` at 100."""
    frames = np.full((6, 29), -20.0, np.float32)
    for frame, token in enumerate([28, 1, 2, 0, 3, 28]):
        frames[frame, token] = 0.0
    alignment = by_bundle(lambda samples: frames[: len(samples) // HOP], LETTERS)
    assert alignment.ends("ab c", np.zeros(6 * HOP, np.float32)) == pytest.approx([0.06, 0.10])
    assert alignment.ends("ab c", np.zeros(2 * HOP, np.float32)) == [], "two frames cannot hold three letters"


def test_histogram_covers_words_that_are_shown_before_they_end() -> None:
    assert histogram([-10.0, 0.0, 79.9, 80.0, 250.0]) == [(-80, 1), (0, 2), (80, 1), (160, 0), (240, 1)]


def test_summary() -> None:
    assert summary([100.0 * value for value in range(21)]) == {"median": 1000, "p95": 1900, "words": 21}
