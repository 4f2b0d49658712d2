"""The typed door to numba: functions over arrays that are compiled once and kept on disk.

numba carries no type hints, so its decorator would strip them; nothing else here may import it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")

MADE = Path(sys.prefix, "share", "stenoflow", "compiled")
"""What an image's build compiled, if it did."""


def take_over(made: Path, kept: Path) -> None:
    """Copies what is compiled already to where numba looks: it takes no folder as its cache that it cannot write to.

    Args:
        made: a cache of numba's, perhaps on a file system that is read-only.
        kept: begins as a copy of it, whole or not at all; what is there already stays as it is.
    """
    if kept.exists() or not made.is_dir():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        copy = shutil.copytree(made, Path(folder, "copy"))
        try:
            copy.rename(kept)
        except OSError:
            if not kept.exists():  # else another process was first
                raise


if kept := os.environ.get("NUMBA_CACHE_DIR"):
    take_over(MADE, Path(kept))


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function over arrays and numbers to machine code at its first call; the GIL is free while it runs.

    Args:
        function: in numba's subset of Python. Its module must stand in a folder that can be written to (or
            ``NUMBA_CACHE_DIR`` be set), else it is compiled anew in every process.
    """
    wrapped: Callable[P, R] = numba.njit(cache=True, nogil=True)(function)
    return wrapped
