"""How many tracks this process can carry: measured at start, not guessed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from stenoflow.base.clock import Clock
from stenoflow.bundle.card import Card
from stenoflow.bundle.loading import Bundle
from stenoflow_acoustic.engine import Engine
from stenoflow_acoustic.onnx_engine import Device, OnnxEngine

CHUNK_MS = 160
"""The default chunk: what a track brings per step."""

ROWS = 16
"""The bucket that is measured: from about here on a larger batch gains little (PLATFORM 4)."""

RUNS = 9
"""Runs that are timed; their median counts, since the first tens of milliseconds of a container may be throttled."""

SHARE = 0.5
"""Part of the time that tracks may fill. The rest is for flushes at segments' ends (400 ms each), for tracks that are
taken over and replayed, and for the loop. All tracks are taken to speak at once."""

MAX_PLACES = 4096


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was measured.

    Args:
        step_ms: one run of ``ROWS`` tracks over ``CHUNK_MS``, milliseconds.
        tracks: that can be carried in real time, with margin.
    """

    step_ms: float
    tracks: int


def measure(engine: Engine, card: Card, clock: Clock) -> Capacity:
    """Times the warm engine; takes slots meanwhile and gives them back."""
    steps = max(1, CHUNK_MS // (card.acoustic.step_frames * card.features.hop_ms))
    steps = max(size for size in engine.step_buckets if size <= steps)
    taken = [engine.allocate() for _ in range(ROWS)]
    slots = np.array(taken, np.intp)
    engine.reset(taken)
    features = np.empty((ROWS, steps * card.acoustic.step_frames, card.features.bins), np.float32)
    features[:] = card.features.flush_frame
    times: list[float] = []
    for _ in range(RUNS):
        begin = clock.monotonic()
        engine.run(slots, features)
        times.append(clock.monotonic() - begin)
    for slot in taken:
        engine.free(slot)
    step_s = max(statistics.median(times), 1e-6)
    heard_s = ROWS * steps * card.acoustic.step_frames * card.features.hop_ms / 1000
    return Capacity(step_s * 1000, int(min(max(1, SHARE * heard_s / step_s), MAX_PLACES)))


def ready_engine(bundle: Bundle, device: Device, places: int | None, clock: Clock) -> tuple[OnnxEngine, Capacity, str]:
    """A warm engine with room for ``places`` tracks (None: as many as were measured), and a line that says what it is.

    Raises:
        BundleError: the model does not fit its card.
        ConfigError: the device that was asked for is missing.
    """
    engine = OnnxEngine(bundle, device=device, slots=ROWS)
    engine.warm_up()
    capacity = measure(engine, bundle.card, clock)
    engine.resize(places or capacity.tracks)
    summary = (
        f"{bundle} on {engine.device}, {engine.precision}: {CHUNK_MS} ms of {ROWS} tracks in "
        f"{capacity.step_ms:.1f} ms, so it carries {capacity.tracks}"
    )
    return engine, capacity, summary
