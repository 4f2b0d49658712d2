"""Where the files are that come with the code: models, samples, the page."""

from __future__ import annotations

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]
_INSTALLED = Path(sys.prefix) / "share" / "stenoflow"


def shipped(folder: str) -> Path:
    """A folder by its name in a checkout (``shared/samples``); where there is none, where the wheel put it."""
    here = _CHECKOUT / folder
    return here if here.is_dir() else _INSTALLED / folder.removeprefix("shared/")
