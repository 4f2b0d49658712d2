"""Writes docs/reference/ from the code: ``make reference``, or elsewhere: ``python -m docs.make_reference FOLDER``.

Every page is a pure function of the code, so a test can compare what is committed with what the code gives today.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from docs.pages import asyncapi, commands, errors, metrics, openapi, protocol, settings


def pages() -> Mapping[str, str]:
    """All pages, by where they lie in the reference."""
    return {
        "protocol.md": protocol.make(),
        "asyncapi.yaml": asyncapi.make(),
        "openapi.json": openapi.make(),
        "errors.md": errors.make(),
        "settings.md": settings.make(),
        "metrics.md": metrics.make(),
        **{f"commands/{name}": text for name, text in commands.make().items()},
    }


def write(folder: Path) -> None:
    """Writes all pages into a folder."""
    for name, text in pages().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference")
