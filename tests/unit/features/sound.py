"""Sound for the tests of this folder: synthetic, and the repository's own clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

CLIPS = Path(__file__).resolve().parents[2] / "clips"


def noise(samples: int, seed: int = 1, scale: float = 3000.0) -> NDArray[np.int16]:
    """White noise, (samples,) int16."""
    return (np.random.default_rng(seed).standard_normal(samples) * scale).clip(-32768, 32767).astype(np.int16)


def clip(name: str) -> NDArray[np.int16]:
    """A clip of real speech at 16 kHz, (N,) int16."""
    soundfile = pytest.importorskip("soundfile", reason="real speech needs soundfile")
    path = CLIPS / f"{name}.opus"
    if not path.exists():
        pytest.skip(f"real speech is missing: {path}")
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    return np.asarray(samples, np.int16)


def cuts(length: int, sizes: list[int]) -> list[tuple[int, int]]:
    """``[0, length)`` cut into pieces of the given sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < length:
        end = min(length, at + max(1, sizes[turn % len(sizes)]))
        pieces.append((at, end))
        at, turn = end, turn + 1
    return pieces
