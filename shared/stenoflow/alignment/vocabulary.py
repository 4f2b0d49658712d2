"""The tokens of a bundle's emissions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NO_SEPARATOR = -1
"""The separator of a vocabulary of word pieces: no token's id."""

WORD_BEGIN = "\u2581"
"""With this a piece begins that begins a word (SentencePiece)."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of the emissions.

    Args:
        symbols: one a token; the blank's is never shown.
        blank: id of the CTC blank.
        separator: id of the token between words; ``NO_SEPARATOR`` where tokens are pieces of words.
        hidden: ids of tokens that stand for no text.
    """

    symbols: tuple[str, ...]
    blank: int
    separator: int
    hidden: frozenset[int] = frozenset()

    @classmethod
    def of(cls, symbols: Sequence[str], blank: int, separator: int | None, hidden: Sequence[int] = ()) -> Vocabulary:
        """From a bundle's card."""
        return cls(tuple(symbols), blank, NO_SEPARATOR if separator is None else separator, frozenset(hidden))

    @property
    def of_pieces(self) -> bool:
        """Whether tokens are pieces of words, with the space between words inside them."""
        return self.separator == NO_SEPARATOR

    def text(self, tokens: NDArray[np.int32]) -> str:
        """Words joined by single spaces."""
        symbols, separator = self.symbols, self.separator
        if not self.of_pieces and not self.hidden:
            return "".join(" " if token == separator else symbols[token] for token in tokens.tolist()).strip(" ")
        return " ".join(word for word, _ in self.words(tokens))

    def words(self, tokens: NDArray[np.int32]) -> list[tuple[str, list[int]]]:
        """The words of some tokens, each with the indices of its own."""
        found: list[tuple[str, list[int]]] = []
        open_word = False
        for at, token in enumerate(tokens.tolist()):
            if token == self.separator:
                open_word = False
                continue
            symbol = "" if token in self.hidden else self.symbols[token]
            for number, part in enumerate(symbol.split(WORD_BEGIN) if self.of_pieces else (symbol,)):
                if number:
                    open_word = False
                if part and not open_word:
                    found.append((part, [at]))
                    open_word = True
                elif part:
                    word, own = found[-1]
                    found[-1] = (word + part, [*own, at])
        return found

    def spelled(self, text: str) -> NDArray[np.int32] | None:
        """Tokens that spell a text, as few as can be, int32; None where they cannot.

        Args:
            text: words joined by single spaces.
        """
        space = WORD_BEGIN if self.of_pieces else " "
        silent = {self.blank, *self.hidden}
        token_of = {symbol: token for token, symbol in enumerate(self.symbols) if symbol and token not in silent}
        if not self.of_pieces:
            token_of[" "] = self.separator
        text = (WORD_BEGIN if self.of_pieces else "") + text.replace(" ", space)
        longest = max(map(len, token_of))
        # Fewest pieces, from the left: by place, how many there are and how long the last one is.
        best: list[tuple[int, int] | None] = [(0, 0)] + [None] * len(text)
        for end in range(1, len(text) + 1):
            for length in range(min(longest, end), 0, -1):
                before = best[end - length]
                known = best[end]
                if before is None or text[end - length : end] not in token_of:
                    continue
                if known is None or before[0] + 1 < known[0]:
                    best[end] = (before[0] + 1, length)
        tokens: list[int] = []
        at = len(text)
        while at:
            here = best[at]
            if here is None:
                return None
            tokens.append(token_of[text[at - here[1] : at]])
            at -= here[1]
        return np.asarray(tokens[::-1], np.int32)
