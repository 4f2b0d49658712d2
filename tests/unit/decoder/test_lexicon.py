"""The trie finds every word and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decoder.small import letters

from stenoflow.base.errors import BundleError
from stenoflow_decoder.lexicon import OFF_LEXICON, ROOT, UNKNOWN_WORD, Lexicon, child_of

NAMES = st.text(alphabet="abc'", min_size=1, max_size=6)


def walk(lexicon: Lexicon, text: str) -> int:
    node = ROOT
    for symbol in text:
        node = child_of(lexicon.first_child, lexicon.child_count, lexicon.letter, node, letters().number[symbol])
    return node


@settings(deadline=None)  # the first call compiles
@given(words=st.lists(NAMES, max_size=30), others=st.lists(NAMES, max_size=10))
def test_a_word_ends_at_its_own_node(words: list[str], others: list[str]) -> None:
    lexicon = Lexicon.of(words, letters())
    assert lexicon.words[UNKNOWN_WORD] == "<unk>" and set(lexicon.words[1:]) == set(words)
    for text in words + others:
        node = walk(lexicon, text)
        begins_a_word = any(word.startswith(text) for word in words)
        assert (node != OFF_LEXICON) == begins_a_word
        found = lexicon.word[node] if node != OFF_LEXICON else UNKNOWN_WORD
        assert (lexicon.words[found] == text) if text in words else found == UNKNOWN_WORD


@settings(deadline=None)  # the first call compiles
@given(words=st.lists(NAMES, min_size=1, max_size=30, unique=True))
def test_the_best_below_a_node_is_the_best_word_that_begins_so(words: list[str]) -> None:
    lexicon = Lexicon.of(words, letters())
    scores = {word: -float(at) for at, word in enumerate(words)}
    best = lexicon.best_below(lambda word: scores.get(word, -99.0))
    assert best[ROOT] == 0.0 and best[OFF_LEXICON] == -99.0
    for word in words:
        for length in range(1, len(word) + 1):
            expected = max(scores[other] for other in words if other.startswith(word[:length]))
            assert best[walk(lexicon, word[:length])] == expected


@pytest.mark.parametrize("word", ["abx", "é", "a b"])
def test_a_word_that_the_model_cannot_emit_is_refused(word: str) -> None:
    with pytest.raises(BundleError, match="lexicon"):
        Lexicon.of(["ab", word], letters())
