"""What words add to a hypothesis: the language model behind a table that the compiled search can read.

The search knows a word's history only as a small number, its *context*: what of the last words still matters. It looks
``(context, word)`` up; what is missing it names, and Python asks the language model once. So the library is called a
few dozen times per second of speech instead of thousands, and never from inside the search.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow_decoder.language_model import LanguageModel

MISSING = -1


class WordScores:
    """Natural-log scores of words after contexts, for one utterance.

    Args:
        language_model: asked for what the table lacks.
        words: by word id; id 0 is any word outside the lexicon.
        previous: the words before the utterance.

    Attributes:
        keys: int64 (capacity,), ``context << 32 | word``, open addressing; -1 is free.
        scores: float64 (capacity,).
        following: int32 (capacity,), the context after the word.
    """

    start = 0
    """The context in which the utterance begins."""

    def __init__(self, language_model: LanguageModel[Any], words: Sequence[str], previous: Sequence[str]) -> None:
        self._model = language_model
        self._words = words
        self._reach = language_model.order - 1
        # Histories after which everything scores the same are one context, so that they share their scores and the
        # search can tell that two hypotheses have met. Where the library cannot say, the last words tell.
        start = language_model.start(previous[-self._reach :] if self._reach else ())
        alike = language_model.alike(start)
        self._states: list[Any] = [start]
        self._keys: list[Any] = [(MISSING,) * self._reach if alike is None else alike]
        self._contexts: dict[Hashable, int] = {self._keys[0]: 0}
        self._held = 0
        self._clear(1024)

    def _clear(self, capacity: int) -> None:
        self.keys: NDArray[np.int64] = np.full(capacity, MISSING, np.int64)
        self.scores: NDArray[np.float64] = np.zeros(capacity)
        self.following: NDArray[np.int32] = np.zeros(capacity, np.int32)

    def grow(self) -> None:
        """Twice as much room."""
        keys, scores, following = self.keys, self.scores, self.following
        self._clear(keys.size * 2)
        held = keys != MISSING
        _insert(self.keys, self.scores, self.following, keys[held], scores[held], following[held])

    def add(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Asks the language model and keeps its answers in the table.

        Args:
            wanted: contexts and words, each once, none of them known.
        """
        keys, scores, followings = [], [], []
        for context, word in wanted:
            state, score = self._model.score(self._states[context], self._words[word])
            key = self._model.alike(state)
            if key is None:
                key = (*self._keys[context], word)[1:] if self._reach else ()
            following = self._contexts.get(key)
            if following is None:
                following = self._contexts[key] = len(self._states)
                self._states.append(state)
                self._keys.append(key)
            keys.append(context << 32 | word)
            scores.append(score)
            followings.append(following)
        while (self._held + len(keys)) * 2 > self.keys.size:
            self.grow()
        # All at once: a call of compiled code costs as much as asking for a word.
        _insert(
            self.keys,
            self.scores,
            self.following,
            np.array(keys, np.int64),
            np.array(scores, np.float64),
            np.array(followings, np.int32),
        )
        self._held += len(keys)

    def score(self, context: int, word: int) -> float:
        """The score of a word after a context."""
        at = find(self.keys, context, word)
        if at == MISSING:
            self.add([(context, word)])
            at = find(self.keys, context, word)
        return float(self.scores[at])


@compiled
def _place_of(keys: NDArray[np.int64], key: int) -> int:
    """Where a key stands in the table, or where it would."""
    mask = keys.size - 1
    at = (key ^ (key >> 29)) * 2654435761 & mask
    while keys[at] != key and keys[at] != MISSING:
        at = (at + 1) & mask
    return at


@compiled
def find(keys: NDArray[np.int64], context: int, word: int) -> int:
    """The place of a context and a word in the table, or ``MISSING``."""
    key = int((np.int64(context) << np.int64(32)) | np.int64(word))
    at = _place_of(keys, key)
    return at if keys[at] == key else MISSING


@compiled
def _insert(
    keys: NDArray[np.int64],
    scores: NDArray[np.float64],
    following: NDArray[np.int32],
    new_keys: NDArray[np.int64],
    new_scores: NDArray[np.float64],
    new_following: NDArray[np.int32],
) -> None:
    for new in range(new_keys.size):
        at = _place_of(keys, new_keys[new])
        keys[at], scores[at], following[at] = new_keys[new], new_scores[new], new_following[new]
