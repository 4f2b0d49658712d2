"""What each token adds to a text, in letters: all that lexicon, phrases and spotting know of a vocabulary.

A token is a short string of letters, perhaps with the edge of a word in front. A vocabulary of characters is the
special case in which only the separator has an edge, and every other token is one letter. So words have no spelling of
their own: however a model cuts one into pieces, it goes the same way through the trie.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow.alignment.vocabulary import WORD_BEGIN, Vocabulary

EDGE = 0
"""Number of the edge between two words, which texts show as a space."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """The tokens of a vocabulary in numbered letters.

    Args:
        letters: by number; number 0 is the edge of a word.
        number: of each letter.
        edge: uint8 (V,), 1 for tokens that begin with the edge of a word.
        begins: int32 (V + 1,), where in ``letter`` each token's letters begin; the last is N.
        letter: int32 (N,), numbers of letters; blank and hidden tokens have none.
    """

    letters: tuple[str, ...]
    number: dict[str, int] = field(repr=False)
    edge: NDArray[np.uint8]
    begins: NDArray[np.int32]
    letter: NDArray[np.int32]

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Spelling:
        """From a vocabulary of characters or of pieces.

        An edge inside a piece is a letter that no word has: words in such pieces are outside every lexicon.
        """
        texts = [_text(vocabulary, token) for token in range(len(vocabulary.symbols))]
        letters = (" ", *dict.fromkeys("".join(text.removeprefix(" ") for text in texts)))
        number = {letter: at for at, letter in enumerate(letters)}
        spelled = [[number[letter] for letter in text.removeprefix(" ")] for text in texts]
        return cls(
            letters,
            number,
            np.asarray([text.startswith(" ") for text in texts], np.uint8),
            np.cumsum([0, *map(len, spelled)], dtype=np.int32),
            np.asarray([letter for each in spelled for letter in each], np.int32),
        )

    def text(self, token: int) -> str:
        """What a token adds to a text; the edge is a space."""
        own = self.letter[self.begins[token] : self.begins[token + 1]].tolist()
        return " " * int(self.edge[token]) + "".join(self.letters[letter] for letter in own)


def _text(vocabulary: Vocabulary, token: int) -> str:
    if token == vocabulary.separator:
        return " "
    if token == vocabulary.blank or token in vocabulary.hidden:
        return ""
    symbol = vocabulary.symbols[token]
    if vocabulary.of_pieces and symbol.startswith(WORD_BEGIN):
        return " " + symbol[len(WORD_BEGIN) :]
    return symbol


@compiled
def state_after(
    following: NDArray[np.int32],
    edge: NDArray[np.uint8],
    begins: NDArray[np.int32],
    letter: NDArray[np.int32],
    state: int,
    token: int,
) -> int:
    """The state of an automaton over letters after a token.

    Args:
        following: int32 (states, letters).
        edge: as in ``Spelling``, and so on.
        state: before it.
        token: the token.
    """
    if edge[token] != 0:
        state = following[state, EDGE]
    for at in range(begins[token], begins[token + 1]):
        state = following[state, letter[at]]
    return state
