"""The words that the bundle knows, as a trie over letters in flat arrays.

Nodes lie in level order, so a node's children are neighbours: a child is found by a scan over one short run of
numbers, and 60,000 words take a few megabytes and a fraction of a second. Node 0 is the root (no word begun).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow.base.errors import BundleError
from stenoflow_decoder.spelling import EDGE, Spelling

ROOT = 0
"""Trie node of a word that has not begun."""

OFF_LEXICON = -1
"""Trie node of a word that no word of the lexicon begins like."""

UNKNOWN_WORD = 0
"""Word id of every word that the lexicon does not hold."""

_NO_LETTER = 65_535


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words by id (1-based; 0 is the unknown word) and the trie over their letters.

    Args:
        words: sorted; ``words[0]`` is ``<unk>``.
        first_child: int32 (nodes,), index of a node's first child.
        child_count: uint8 (nodes,); uint16 where there are more than 255 letters.
        letter: the same, the letter that leads to a node, as ``Spelling`` numbers it.
        word: int32 (nodes,), the id of the word that ends at a node, or 0.
    """

    words: tuple[str, ...]
    first_child: NDArray[np.int32]
    child_count: NDArray[np.unsignedinteger[Any]]
    letter: NDArray[np.unsignedinteger[Any]]
    word: NDArray[np.int32]

    @classmethod
    def of(cls, words: Sequence[str], spelling: Spelling) -> Lexicon:
        """Builds the trie.

        Args:
            words: in any order; repeats count once.
            spelling: the vocabulary's letters.

        Raises:
            BundleError: a word holds a letter that the vocabulary lacks.
        """
        ordered = sorted(set(words) - {""})
        number_of = np.full(sys.maxunicode + 1, _NO_LETTER, np.uint16)
        for letter, number in spelling.number.items():
            if number != EDGE:
                number_of[ord(letter)] = number
        letters = number_of[np.frombuffer("".join(ordered).encode("utf-32-le"), "<u4")]
        ends = np.cumsum([len(word) for word in ordered], dtype=np.int64)
        if letters.size and letters.max() == _NO_LETTER:
            at = int(np.argmax(letters == _NO_LETTER))
            word = ordered[int(np.searchsorted(ends, at, side="right"))]
            raise BundleError("lexicon_symbols", f"the lexicon's word {word!r} has letters that the model cannot emit")
        begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if ordered else np.zeros(0, np.int64)
        small = letters.astype(np.uint8 if len(spelling.letters) <= 256 else np.uint16)
        first_child, child_count, letter_in, word_at = _trie(small, begins, ends)
        return cls(("<unk>", *ordered), first_child, child_count, letter_in, word_at)

    @classmethod
    def load(cls, path: Path, spelling: Spelling) -> Lexicon:
        """Reads a file with a word per line."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise BundleError("lexicon_missing", f"the lexicon {path} cannot be read: {error.strerror}") from None
        return cls.of(text.split(), spelling)

    def best_below(self, score: Callable[[str], float]) -> NDArray[np.float32]:
        """For every node the best score among the words that can still become of it.

        Args:
            score: natural-log score of a word without context.

        Returns:
            float32 (nodes + 1,); the root has 0 (nothing is known of the word), the last element is the unknown
            word's, so that ``OFF_LEXICON`` (-1) indexes it.
        """
        of_word = np.asarray([score(word) for word in self.words], np.float32)
        return _best_below(self.first_child, self.child_count, self.word, of_word)


@compiled
def _trie(
    letters: NDArray[np.unsignedinteger[Any]], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]], NDArray[np.unsignedinteger[Any]], NDArray[np.int32]]:
    """Level order over the sorted words: a node is a run of words that share their first ``depth`` letters."""
    capacity = letters.size + 1
    low = np.empty(capacity, np.int32)
    high = np.empty(capacity, np.int32)
    depth = np.empty(capacity, np.int32)
    first_child = np.zeros(capacity, np.int32)
    child_count = np.zeros(capacity, letters.dtype)
    letter_in = np.zeros(capacity, letters.dtype)
    word = np.zeros(capacity, np.int32)
    low[0], high[0], depth[0] = 0, begins.size, 0
    nodes = 1
    node = 0
    while node < nodes:
        at, end, level = low[node], high[node], depth[node]
        if at < end and ends[at] - begins[at] == level and level > 0:
            word[node] = at + 1  # the shortest word of a run is its first
            at += 1
        first_child[node] = nodes
        while at < end:
            letter = letters[begins[at] + level]
            stop = at + 1
            while stop < end and letters[begins[stop] + level] == letter:
                stop += 1
            low[nodes], high[nodes], depth[nodes] = at, stop, level + 1
            letter_in[nodes] = letter
            child_count[node] += 1
            nodes += 1
            at = stop
        node += 1
    return first_child[:nodes].copy(), child_count[:nodes].copy(), letter_in[:nodes].copy(), word[:nodes].copy()


@compiled
def _best_below(
    first_child: NDArray[np.int32],
    child_count: NDArray[np.unsignedinteger[Any]],
    word: NDArray[np.int32],
    of_word: NDArray[np.float32],
) -> NDArray[np.float32]:
    best = np.full(word.size + 1, -np.inf, np.float32)
    for node in range(word.size - 1, -1, -1):  # children have greater indices
        if word[node] != UNKNOWN_WORD:
            best[node] = of_word[word[node]]
        for child in range(first_child[node], first_child[node] + child_count[node]):
            best[node] = max(best[node], best[child])
    best[ROOT] = 0.0
    best[word.size] = of_word[UNKNOWN_WORD]
    return best


@compiled
def child_of(
    first_child: NDArray[np.int32],
    child_count: NDArray[np.unsignedinteger[Any]],
    letter_in: NDArray[np.unsignedinteger[Any]],
    node: int,
    letter: int,
) -> int:
    """The child of a trie node by a letter, or ``OFF_LEXICON``."""
    if node == OFF_LEXICON:
        return OFF_LEXICON
    first = first_child[node]
    for child in range(first, first + child_count[node]):
        if letter_in[child] == letter:
            return child
    return OFF_LEXICON
