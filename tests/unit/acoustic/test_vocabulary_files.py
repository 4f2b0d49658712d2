"""``tokens.txt`` as others write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenoflow.base.errors import BundleError
from stenoflow_acoustic.adding.vocabulary import read_tokens


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_symbols_may_be_what_ends_lines_elsewhere(tmp_path: Path, line_end: str) -> None:
    symbols = ["<blk>", " ", "▁the", "\u0085", "\u2028", "²"]
    text = "".join(f"{symbol} {index}{line_end}" for index, symbol in enumerate(symbols))
    (tmp_path / "tokens.txt").write_text(text, encoding="utf-8", newline="")
    assert read_tokens(tmp_path / "tokens.txt") == dict(enumerate(symbols))


@pytest.mark.parametrize("line", ["the", "the ²", "the -1", ""])
def test_a_line_without_an_index_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens.txt").write_text(f"<blk> 0\n{line}\na 1\n", encoding="utf-8")
    with pytest.raises(BundleError) as caught:
        read_tokens(tmp_path / "tokens.txt")
    assert caught.value.code == "tokens_damaged"
