"""The words that a bundle's decoder gets beside the model's own vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stenoflow.alignment.vocabulary import WORD_BEGIN
from stenoflow.base.errors import BundleError


@dataclass(frozen=True, slots=True)
class Words:
    """What the decoder gets.

    Args:
        language_model: a KenLM file (ARPA or binary) over words, or None.
        lexicon: its words, one a line; None: those of the language model, where that is an ARPA file.
        options: weights, where they are not the defaults.
    """

    language_model: Path | None = None
    lexicon: Path | None = None
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def language_model_name(self) -> str:
        """What the language model is called in the bundle; KenLM tells ARPA from binary by itself."""
        return "lm.arpa" if self.language_model is not None and _is_arpa(self.language_model) else "lm.binary"

    def lexicon_of(self, tokens: Mapping[str, Any]) -> bytes | None:
        """The lexicon's file, a word a line; None where every spelling is a word.

        Args:
            tokens: that part of the card. Of an ARPA file's words those stay that are made of its letters.

        Raises:
            BundleError: a word of the lexicon has other letters, or a language model comes without words.
        """
        special = {tokens["blank"], tokens["separator"], *tokens["hidden"]}
        letters = set("".join(symbol for at, symbol in enumerate(tokens["symbols"]) if at not in special)) - {
            WORD_BEGIN
        }
        if self.lexicon is not None:
            try:
                words = self.lexicon.read_text(encoding="utf-8").split()
            except UnicodeDecodeError:
                raise BundleError("lexicon_symbols", f"{self.lexicon} is no UTF-8: convert it") from None
            odd = [word for word in words if not letters.issuperset(word)]
            if odd:
                raise BundleError(
                    "lexicon_symbols",
                    f"{len(odd)} of {len(words)} words in {self.lexicon} have letters that the model cannot emit, such "
                    f"as {odd[0]!r}: leave them out, or write them as the model does (it has "
                    f"{''.join(sorted(letters))})",
                )
            return "".join(f"{word}\n" for word in words).encode()
        if self.language_model is None:
            return None
        found = [word for word in _unigrams(self.language_model) if letters.issuperset(word)]
        if not found:
            raise BundleError(
                "lexicon_missing",
                f"{self.language_model} is no ARPA file with words that the model can emit, and a language model needs "
                "their list: give --lexicon too",
            )
        return "".join(f"{word}\n" for word in found).encode()


def _is_arpa(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"\\data\\")


def _unigrams(path: Path) -> Iterator[str]:
    """The words of an ARPA file, without its own signs."""
    if not _is_arpa(path):
        return
    inside = False
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("\\"):
                if inside:
                    return
                inside = line.strip() == "\\1-grams:"
            elif inside and (fields := line.split()) and len(fields) > 1 and fields[1][0] != "<":
                yield fields[1]
