"""A model's output symbols, as its own files list them, made into a card's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stenoflow.alignment.vocabulary import WORD_BEGIN
from stenoflow.base.errors import BundleError

BLANKS = ("<blk>", "<blank>", "<eps>", "<pad>", "[PAD]")
"""What the CTC blank is called, as sherpa-onnx, WeNet, Kaldi and transformers have it."""

SEPARATORS = ("|", " ", "<space>")


def read_tokens(path: Path) -> dict[int, str]:
    """``tokens.txt``: a symbol and its index a line; the symbol may be a space.

    Raises:
        BundleError: it is none.
    """
    symbols: dict[int, str] = {}
    for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):  # a symbol may be another line break
        symbol, _, index = line.rstrip(" \r").rpartition(" ")
        if not (index.isascii() and index.isdigit()):
            raise BundleError("tokens_damaged", f"{path}: the line {line!r} is no symbol with its index: mend the file")
        symbols[int(index)] = symbol or " "
    return symbols


def tokens_card(
    symbols: Mapping[int, str], size: int, blank: int | None, separator: str | None = None
) -> dict[str, Any]:
    """The part of a card.

    Args:
        symbols: by index; indices without one are shown as nothing.
        size: V, of the model's output.
        blank: its index; None: it is known by its name.
        separator: the symbol between words; None: it is known by its name, or words begin with U+2581.

    Raises:
        BundleError: there is no blank, or nothing that tells words apart, or more symbols than outputs.
    """
    if max(symbols, default=-1) >= size:
        raise BundleError(
            "tokens_damaged",
            f"the vocabulary has an index {max(symbols)}, but the model has {size} outputs",
        )
    names = [symbols.get(index, f"<{index}>") for index in range(size)]
    if blank is None:
        blank = next((names.index(each) for each in BLANKS if each in names), None)
    if blank is None or blank >= size:
        raise BundleError("tokens_damaged", f"the vocabulary has no blank: one of {', '.join(BLANKS)} is needed")
    hidden = [
        index
        for index, name in enumerate(names)
        if index != blank and (index not in symbols or (len(name) > 2 and name[0] + name[-1] in ("<>", "[]")))
    ]
    if any(name.startswith(WORD_BEGIN) for name in names):
        between = None
    else:
        between = next((names.index(each) for each in (separator, *SEPARATORS) if each in names), None)
        if between is None:
            raise BundleError(
                "tokens_damaged",
                f"nothing in the vocabulary tells words apart: one of {SEPARATORS}, or pieces with U+2581, is needed",
            )
        hidden = [index for index in hidden if index != between]
    shown = [name for index, name in enumerate(names) if index != blank and index not in hidden]
    if not any(name != name.upper() for name in shown):
        # Capitals alone say nothing; captions, lexica and phrases are in small letters.
        lower = [name if index == blank or index in hidden else name.lower() for index, name in enumerate(names)]
        names = lower if len(set(lower)) == len(lower) else names
    return {"symbols": names, "blank": blank, "separator": between, "hidden": hidden}
