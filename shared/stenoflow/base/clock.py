"""The clock port. Logic takes a clock; only composition roots know the real one."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two times: one that never jumps, one that other machines share."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as other machines see them."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000
