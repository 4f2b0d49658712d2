"""The phrases that a session expects, as an automaton over letters that the compiled search reads.

After Aho & Corasick 1975, "Efficient string matching", as icefall's context graph uses it (`context_graph.py`): one
state tells which phrases the text so far may be in the middle of. Here a phrase begins and ends with a word, so what
does not match falls back by whole words. What a phrase that is only begun may bring counts for ranking alone; nothing
is earned before it is complete, so nothing has to be given back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stenoflow_decoder.lexicon import OFF_LEXICON, ROOT, UNKNOWN_WORD, child_of
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.spelling import EDGE, Spelling

LONGEST = 8
"""Words of a phrase, at most; longer ones are cut. What a session expects is names, and states stay few."""

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})


@dataclass(frozen=True, slots=True)
class Phrases:
    """Where a text stands between phrases, and what its words earn. State 0 is before a word, with no phrase begun.

    A word earns once, however many phrases hold it: by the longest of those that are complete first.

    Args:
        following: int32 (states, letters), the state after a letter; ``state_after`` has the one after a token.
        earned: float64 (states,), natural log, what is earned where the open word ends in a state.
        hoped: float64 (states,), natural log, what the letters so far will earn if their phrase is completed.
    """

    following: NDArray[np.int32]
    earned: NDArray[np.float64]
    hoped: NDArray[np.float64]

    @classmethod
    def none(cls, spelling: Spelling) -> Phrases:
        """One state in which every text is and earns nothing, for sessions without phrases."""
        return cls(np.zeros((1, len(spelling.letters)), np.int32), np.zeros(1), np.zeros(1))

    @classmethod
    def of(cls, weights: Iterable[tuple[str, float]], model: DecodingModel) -> Phrases:
        """Builds the automaton: about 15 µs a letter.

        Args:
            weights: phrases as people write them, each with the factor on its bonus. Those with a digit (how it is
                said is not known here) and those of weight 0 are left out.
            model: tells letters, words of the lexicon, and what a letter of a phrase earns.
        """
        spelled: dict[str, float] = {}
        for phrase, weight in weights:
            if (plain := plain_phrase(phrase, model)) and weight > 0:
                spelled[plain] = max(weight, spelled.get(plain, 0.0))
        return _Automaton(spelled, model).phrases() if spelled else cls.none(model.spelling)


def plain_phrase(phrase: str, model: DecodingModel) -> str:
    """A phrase in the letters of a model, its words joined by single spaces; empty where it holds a digit."""
    if any(character.isdigit() for character in phrase):
        return ""
    letters = set(model.spelling.letters[1:])
    text = unicodedata.normalize("NFKC", phrase.translate(_APOSTROPHES)).lower()
    bare = "".join(each if each in letters else unicodedata.normalize("NFKD", each) for each in text)
    kept = (character if character in letters else " " for character in bare if not unicodedata.combining(character))
    words = (word.strip("'") for word in "".join(kept).split())
    return " ".join([word for word in words if word][:LONGEST])


class _Automaton:
    """Builds the states, each of which is a path and which of its words have earned.

    A path is the longest end of the text, from a word's begin on, that a phrase begins with: "new yo", or "new "
    where the word is over. Bit n of ``over`` is set where its word n earned with an earlier phrase.
    """

    _NOWHERE = 1
    """Inside a word that no phrase goes on with."""

    def __init__(self, weights: Mapping[str, float], model: DecodingModel) -> None:
        self._weights = weights
        self._letter_score = model.options.phrase_score
        self._unknown_score = model.options.unknown_score
        self._number = model.spelling.number
        self._lexicon = model.lexicon
        self._nodes = {"": ROOT}
        self._greatest: dict[str, float] = {"": 0.0}  # by path, the weight of the phrases that begin with it
        self._letters: dict[str, str] = {"": ""}  # by path, what phrases go on with
        for phrase, weight in weights.items():
            for at in range(len(phrase)):
                path, longer = phrase[:at], phrase[: at + 1]
                if longer not in self._greatest:
                    self._letters[path] += phrase[at]
                    self._letters[longer] = ""
                self._greatest[longer] = max(weight, self._greatest.get(longer, 0.0))
        self._states: dict[tuple[str, int], int] = {("", 0): 0}
        self._order: list[tuple[str, int]] = [("", 0), ("", -1)]

    def phrases(self) -> Phrases:
        """All states that a text can reach."""
        nowhere = np.full(len(self._number), self._NOWHERE, np.int32)
        nowhere[EDGE] = 0
        following, earned, hoped = [], [], []
        for number, (path, over) in enumerate(self._order):  # which grows meanwhile
            row = nowhere.copy()
            following.append(row)
            earned.append(0.0)
            hoped.append(0.0)
            if number == self._NOWHERE:
                continue
            hoped[-1] = self._worth(path, over, self._greatest[path])
            taken: set[str] = set()
            for end, left in _ends(path, over):
                for letter in self._letters.get(end, ""):
                    if letter not in taken and letter != " ":
                        taken.add(letter)
                        row[self._number[letter]] = self._state(end + letter, left)
            if path.endswith(" "):
                row[EDGE] = number  # an edge and another are one: a bare edge, and a piece that begins a word
            elif path:
                earned[-1], over = self._complete(path, over)
                row[EDGE] = next(
                    self._state(end, left) for end, left in _ends(path + " ", over) if end in self._greatest
                )
        return Phrases(np.stack(following), np.asarray(earned), np.asarray(hoped))

    def _state(self, path: str, over: int) -> int:
        number = self._states.setdefault((path, over), len(self._order))
        if number == len(self._order):
            self._order.append((path, over))
        return number

    def _complete(self, path: str, over: int) -> tuple[float, int]:
        """What the longest phrase earns that ends with a path, and which words of the path have earned then."""
        for end, left in _ends(path, over):
            if end in self._weights:
                words, before = end.count(" ") + 1, path.count(" ") - end.count(" ")
                return self._worth(end + " ", left, self._weights[end]), over | ((1 << words) - 1) << before
        return 0.0, over

    def _worth(self, path: str, over: int, weight: float) -> float:
        """What words that have not earned would: the bonus of their letters, and what was charged for them."""
        worth = 0.0
        *ended, open_word = path.split(" ")
        for at, word in enumerate((*ended, open_word)):
            if not over >> at & 1:
                worth += weight * self._letter_score * len(word)
                node = self._node(word)
                if node == OFF_LEXICON or (at < len(ended) and self._lexicon.word[node] == UNKNOWN_WORD):
                    worth -= self._unknown_score
        return worth

    def _node(self, word: str) -> int:
        """The lexicon's node of a word's begin."""
        if word not in self._nodes:
            lexicon, before = self._lexicon, self._node(word[:-1])
            self._nodes[word] = child_of(
                lexicon.first_child, lexicon.child_count, lexicon.letter, before, self._number[word[-1]]
            )
        return self._nodes[word]


def _ends(path: str, over: int) -> Iterator[tuple[str, int]]:
    """A path and its ends from each later word on, longest first, with what of them has earned."""
    yield path, over
    while " " in path:
        path, over = path[path.index(" ") + 1 :], over >> 1
        yield path, over
