"""The tokens of a bundle's emissions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of the emissions.

    Args:
        symbols: one a token; the blank's is never shown.
        blank: id of the CTC blank.
        separator: id of the token between words.
    """

    symbols: tuple[str, ...]
    blank: int
    separator: int

    def text(self, tokens: NDArray[np.int32]) -> str:
        """Words joined by single spaces."""
        symbols, separator = self.symbols, self.separator
        return "".join(" " if token == separator else symbols[token] for token in tokens.tolist()).strip(" ")
