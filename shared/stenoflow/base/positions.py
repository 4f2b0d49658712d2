"""Positions: sample counts since a track began.

The audio log counts the client's samples; every later log and every caption counts 16 kHz samples. The two
meet on a 10 ms grid, which is a whole number of samples at each of the accepted rates (DESIGN 1).
"""

from __future__ import annotations

from typing import NewType

ClientPosition = NewType("ClientPosition", int)
"""Samples at the client's rate since the track began."""

Position = NewType("Position", int)
"""Samples at 16 kHz since the track began."""

SAMPLE_RATE = 16_000
"""The rate that every stage after the resampler counts in, Hz."""

CLIENT_RATES = (8_000, 16_000, 24_000, 32_000, 44_100, 48_000)
"""Rates that a client may send, Hz: those at which 10 ms is a whole number of samples, and in use."""

GRID = SAMPLE_RATE // 100
"""10 ms at 16 kHz, in samples: the grid on which client positions and 16 kHz positions meet."""


def to_position(client: ClientPosition, sample_rate: int) -> Position:
    """16 kHz position of a client position, rounded down to the 10 ms grid."""
    return Position(client // (sample_rate // 100) * GRID)


def to_client(position: Position, sample_rate: int) -> ClientPosition:
    """Client position of a 16 kHz position, rounded down to the 10 ms grid."""
    return ClientPosition(position // GRID * (sample_rate // 100))
