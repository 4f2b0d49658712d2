"""Markdown that all pages share: aligned tables, and docstrings as prose. Knows nothing of Stenoflow."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence

NOTE = "<!-- Made from the code by `make reference`: change the code (or docs/pages/), not this page. -->"


def page(title: str, intro: str, *parts: str) -> str:
    """A whole page: title, note, intro (if any) and parts, a blank line between each."""
    blocks = [f"# {title}", NOTE, intro.strip(), *(part.strip("\n") for part in parts)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns stand under each other; only the last one is as long as it likes."""
    lines = [list(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(heads) - 1)]
    lines.insert(1, ["-" * width for width in widths] + ["---"])
    return "\n".join(
        "| " + " | ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) + " |"
        for line in lines
    )


def code(text: str, language: str = "") -> str:
    """A fenced block."""
    return f"```{language}\n{text.rstrip()}\n```"


def prose(docstring: str | None) -> str:
    """A docstring as Markdown on one line: single backticks, and without the design's paragraph numbers."""
    return re.sub(r" \(DESIGN [^)]*\)", "", " ".join((docstring or "").replace("``", "`").split()))


def attribute_docs(cls: type) -> dict[str, str]:
    """The strings under a class's attributes (enums keep them only in their source)."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for line, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(line, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(line.targets[0], ast.Name)
            found[line.targets[0].id] = str(below.value.value)
    return found
