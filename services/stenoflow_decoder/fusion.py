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
        self._states: list[Any] = [language_model.start(previous[-self._reach :] if self._reach else ())]
        self._histories: list[tuple[int, ...]] = [(MISSING,) * self._reach]
        self._contexts: dict[Hashable, int] = {self._key(self._states[0], self._histories[0]): 0}
        self._held = 0
        self._clear(1024)

    def _clear(self, capacity: int) -> None:
        self.keys: NDArray[np.int64] = np.full(capacity, MISSING, np.int64)
        self.scores: NDArray[np.float64] = np.zeros(capacity)
        self.following: NDArray[np.int32] = np.zeros(capacity, np.int32)

    def add(self, context: int, word: int) -> None:
        """Asks the language model and keeps its answer in the table."""
        state, score = self._model.score(self._states[context], self._words[word])
        history = (*self._histories[context], word)[1:] if self._reach else ()
        key = self._key(state, history)
        following = self._contexts.get(key)
        if following is None:
            following = self._contexts[key] = len(self._states)
            self._states.append(state)
            self._histories.append(history)
        if self._held * 2 >= self.keys.size:
            keys, scores, contexts = self.keys, self.scores, self.following
            self._clear(keys.size * 2)
            for at in np.flatnonzero(keys != MISSING):
                _insert(self.keys, self.scores, self.following, int(keys[at]), float(scores[at]), int(contexts[at]))
        _insert(self.keys, self.scores, self.following, key_of(context, word), score, following)
        self._held += 1

    def _key(self, state: Any, history: tuple[int, ...]) -> Hashable:
        alike = self._model.alike(state)
        return history if alike is None else alike

    def score(self, context: int, word: int) -> float:
        """The score of a word after a context."""
        at = find(self.keys, context, word)
        if at == MISSING:
            self.add(context, word)
            at = find(self.keys, context, word)
        return float(self.scores[at])


@compiled
def key_of(context: int, word: int) -> int:
    """One number for a context and a word."""
    key: np.int64 = (np.int64(context) << np.int64(32)) | np.int64(word)
    return int(key)


@compiled
def find(keys: NDArray[np.int64], context: int, word: int) -> int:
    """The place of a context and a word in the table, or ``MISSING``."""
    key = key_of(context, word)
    mask = keys.size - 1
    at = (key ^ (key >> 29)) * 2654435761 & mask
    while keys[at] != key:
        if keys[at] == MISSING:
            return MISSING
        at = (at + 1) & mask
    return at


@compiled
def _insert(
    keys: NDArray[np.int64],
    scores: NDArray[np.float64],
    following: NDArray[np.int32],
    key: int,
    score: float,
    context: int,
) -> None:
    mask = keys.size - 1
    at = (key ^ (key >> 29)) * 2654435761 & mask
    while keys[at] != MISSING:
        at = (at + 1) & mask
    keys[at], scores[at], following[at] = key, score, context
