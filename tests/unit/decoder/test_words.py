"""Words lie where they were said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decoder.small import BLANK, SEPARATOR, SYMBOLS, VOCABULARY, noise, searched, speech, without_words

from stenoflow.alignment.viterbi import align
from stenoflow.alignment.words import confidence_of, timed_words

HOP = 320


def spoken(path: str) -> np.ndarray:
    """Frames that say a path, ``-`` for blank and ``_`` for the separator, each with probability 0.9."""
    tokens = ["-_".find(symbol) for symbol in path]
    indices = [
        BLANK if t == 0 else SEPARATOR if t == 1 else SYMBOLS.index(s) for t, s in zip(tokens, path, strict=True)
    ]
    frames = np.full((len(path), len(SYMBOLS)), np.log(0.1 / 5), np.float32)
    frames[np.arange(len(path)), indices] = np.log(0.9)
    return frames


def test_a_word_begins_with_its_first_letter_and_ends_with_its_last() -> None:
    path = "--aa-b--_-_ca-b---"
    words = timed_words("ab cab", spoken(path), np.arange(len(path)) * HOP + 1000, HOP, VOCABULARY)
    assert [(word.text, word.begin, word.end) for word in words] == [
        ("ab", 1000 + 2 * HOP, 1000 + 6 * HOP),
        ("cab", 1000 + 11 * HOP, 1000 + 15 * HOP),
    ]
    assert [word.confidence for word in words] == pytest.approx([0.9, 0.9], abs=1e-3)
    assert confidence_of(words) == pytest.approx(0.9, abs=1e-3)


def test_equal_letters_are_told_apart_by_the_blank_between_them() -> None:
    tokens = np.asarray([SYMBOLS.index(symbol) for symbol in "aa"], np.int32)
    assert align(spoken("-aa-a-"), tokens, BLANK, SEPARATOR).tolist() == [-1, 0, 0, -1, 1, -1]


def test_too_few_frames_have_no_path() -> None:
    tokens = np.asarray([SYMBOLS.index(symbol) for symbol in "aba"], np.int32)
    assert align(spoken("ab"), tokens, BLANK, SEPARATOR).tolist() == [-1, -1]


def test_a_gap_in_the_frames_is_a_gap_in_the_words() -> None:
    positions = np.asarray([0, HOP, 10 * HOP, 11 * HOP])
    words = timed_words("a b", spoken("a_b-"), positions, HOP, VOCABULARY)
    assert [(word.begin, word.end) for word in words] == [(0, HOP), (10 * HOP, 11 * HOP)]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), frames=st.integers(1, 60), noisy=st.booleans())
def test_whatever_was_read_lies_inside_the_utterance_in_order(seed: int, frames: int, noisy: bool) -> None:
    emissions = noise(seed, frames) if noisy else speech("ab cab abba", seed)
    positions = np.arange(len(emissions)) * HOP + 640
    for reading in searched(without_words(width=4), emissions).readings():
        words = timed_words(reading.text, emissions, positions, HOP, VOCABULARY)
        assert " ".join(word.text for word in words) == reading.text
        edges = [edge for word in words for edge in (word.begin, word.end)]
        assert edges == sorted(edges) and all(word.begin < word.end for word in words)
        assert all(640 <= edge <= 640 + len(emissions) * HOP for edge in edges)
        assert all(0.0 <= word.confidence <= 1.0 for word in words)
