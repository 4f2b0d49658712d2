"""The typed door to numba: functions over arrays that are compiled once and kept on disk.

numba carries no type hints, so its decorator would strip them; nothing else here may import it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function over arrays and numbers to machine code at its first call; the GIL is free while it runs.

    Args:
        function: in numba's subset of Python. Its module must stand in a folder that can be written to (or
            ``NUMBA_CACHE_DIR`` be set), else it is compiled anew in every process.
    """
    wrapped: Callable[P, R] = numba.njit(cache=True, nogil=True)(function)
    return wrapped
