"""Word pieces: which tokens make which word, how a text is spelled, and when its words are said."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stenoflow.alignment.vocabulary import NO_SEPARATOR, Vocabulary
from stenoflow.alignment.words import timed_words

SYMBOLS = ("<unk>", "▁", "a", "b", "▁a", "▁ab", "ba", "<pad>")
PIECES = Vocabulary.of(SYMBOLS, 7, None, [0])
LETTERS = Vocabulary.of(("<pad>", "<s>", "|", "a", "b"), 0, 2, [1])


def tokens(*names: str) -> np.ndarray:
    return np.asarray([SYMBOLS.index(name) for name in names], np.int32)


def test_a_word_begins_where_a_piece_says_so() -> None:
    found = PIECES.words(tokens("▁ab", "a", "<unk>", "b", "▁", "ba", "▁a"))
    assert found == [("abab", [0, 1, 3]), ("ba", [5]), ("a", [6])]
    assert PIECES.text(tokens("ba", "▁ab")) == "ba ab" and PIECES.separator == NO_SEPARATOR


def test_hidden_letters_are_no_text() -> None:
    assert LETTERS.text(np.asarray([3, 1, 4, 2, 1, 3], np.int32)) == "ab a"


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=4))
def test_what_is_spelled_reads_back(words: list[str]) -> None:
    text = " ".join(words)
    for vocabulary in (PIECES, LETTERS):
        spelled = vocabulary.spelled(text)
        assert spelled is not None and vocabulary.text(spelled) == text
    assert PIECES.spelled(text + "x") is None


def test_words_of_pieces_have_times() -> None:
    said = tokens("▁ab", "<pad>", "a", "<pad>", "▁a", "<pad>")
    frames = np.full((len(said), len(SYMBOLS)), -20.0, np.float32)
    frames[np.arange(len(said)), said] = -0.01
    found = timed_words("aba a", frames, np.arange(len(said)) * 1280, 1280, PIECES, tokens=tokens("▁ab", "a", "▁a"))
    assert [(word.text, word.begin, word.end) for word in found] == [("aba", 0, 3 * 1280), ("a", 4 * 1280, 5 * 1280)]
    assert all(word.confidence > 0.9 for word in found)
