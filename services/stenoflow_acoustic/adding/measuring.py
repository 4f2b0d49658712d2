"""What a windowed model's output is like, found by running it: how long a frame is, and what it hears beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from stenoflow.base.errors import BundleError
from stenoflow_acoustic.engine import Floats

_SHORT, _LONG = 100, 420
"""Feature frames; their difference is a multiple of all usual output frames (1, 2, 4, 8, 16, 32)."""

_MOST = 40

PRESETS = {"fast": (1280, 320, 160), "balanced": (2560, 640, 640), "accurate": (5120, 1280, 1280)}
"""What is heard before, kept, and heard after, ms: about six times the work of running over each sound once; what
differs is how late captions are, and how much is known before they are shown."""


@dataclass(frozen=True, slots=True)
class Output:
    """A model's output.

    Args:
        emission_frames: feature frames per output frame.
        overhang_frames: heard beyond the last one.
        symbols: V.
    """

    emission_frames: int
    overhang_frames: int
    symbols: int


def measure_output(emissions: Callable[[Floats], Floats], bins: int) -> Output:
    """Runs the model over noise of some lengths.

    Raises:
        BundleError: its output frames are no multiple of 10 ms.
    """
    noise = np.random.default_rng(0).standard_normal((1, _LONG, bins)).astype(np.float32) * np.float32(0.05)

    def rows(frames: int) -> int:
        return int(emissions(noise[:, :frames]).shape[1])

    more = rows(_LONG) - rows(_SHORT)
    if more <= 0 or (_LONG - _SHORT) % more:
        raise BundleError(
            "model_output",
            f"{_LONG - _SHORT} frames more give {more} outputs more: only outputs every whole 10 ms are served",
        )
    size = (_LONG - _SHORT) // more
    length = _SHORT // size * size
    overhang = next((each for each in range(_MOST) if rows(length + each) >= length // size), None)
    if overhang is None:
        raise BundleError(
            "model_output", f"the model gives {rows(length)} outputs for {length} frames: that is too few"
        )
    return Output(size, overhang, emissions(noise).shape[2])


def windowed_card(output: Output, **fields: Any) -> dict[str, Any]:
    """The part of a card, with presets in multiples of the model's output frames."""
    emission_ms = 10 * output.emission_frames

    def whole(ms: int) -> int:
        return ceil(ms / emission_ms) * emission_ms

    presets = {
        name: {
            "left_ms": whole(left),
            "step_ms": whole(step),
            "right_ms": whole(max(right, 10 * output.overhang_frames)),
        }
        for name, (left, step, right) in PRESETS.items()
    }
    return {
        "kind": "windowed",
        "emission_ms": emission_ms,
        "overhang_frames": output.overhang_frames,
        "presets": presets,
        "preset": "balanced",
        **fields,
    }
