"""How many tracks this process can carry: measured at start, not guessed."""

from __future__ import annotations

import importlib.util
import statistics
from dataclasses import dataclass

import numpy as np

from stenoflow.base.clock import Clock
from stenoflow.base.errors import ConfigError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bundle.card import Card, StatefulCard, WindowedCard
from stenoflow.bundle.loading import Bundle
from stenoflow_acoustic.engine import Device, Engine, TorchOptions
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.window_batching import widest
from stenoflow_acoustic.windows import WindowGeometry, WindowModel

CHUNK_MS = 160
"""The default chunk: what a track brings per step."""

ROWS = 16
"""The bucket that is measured on a CPU: from about here on a larger batch gains little (PLATFORM 4). A GPU gains up to
its largest one, so there it is that."""

RUNS = 9
"""Runs that are timed; their median counts, since the first tens of milliseconds of a container may be throttled."""

WINDOW_RUNS = 3
"""The same for windows, each of which is seconds of sound."""

SHARE = 0.5
"""Part of the time that tracks may fill. The rest is for flushes at segments' ends (400 ms each), for tracks that are
taken over and replayed, and for the loop. All tracks are taken to speak at once."""

MAX_PLACES = 4096


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was measured.

    Args:
        rows: tracks, or windows, of one run.
        heard_ms: how much of each a run goes on by.
        step_ms: how long it took.
        tracks: that can be carried in real time, with margin.
    """

    rows: int
    heard_ms: int
    step_ms: float
    tracks: int


def measure(engine: Engine, card: Card, clock: Clock) -> Capacity:
    """Times the warm engine; takes slots meanwhile and gives them back."""
    assert isinstance(card.acoustic, StatefulCard)
    step_frames, overlap = card.acoustic.step_frames, card.acoustic.heard_frames - card.acoustic.step_frames
    steps = max(1, CHUNK_MS // (step_frames * card.features.hop_ms))
    steps = max(size for size in engine.step_buckets if size <= steps)
    rows = engine.batch_buckets[-1] if engine.device != "cpu" else min(ROWS, engine.batch_buckets[-1])
    taken = [engine.allocate() for _ in range(rows)]
    slots = np.array(taken, np.intp)
    engine.reset(taken)
    features = np.empty((rows, steps * step_frames + overlap, card.features.bins), np.float32)
    features[:] = card.features.flush_frame
    times: list[float] = []
    for _ in range(RUNS):
        begin = clock.monotonic()
        engine.run(slots, features)
        times.append(clock.monotonic() - begin)
    for slot in taken:
        engine.free(slot)
    step_s = statistics.median(times)
    return _capacity(rows, steps * step_frames * card.features.hop_ms, step_s)


def measure_windows(model: WindowModel, geometry: WindowGeometry, clock: Clock) -> Capacity:
    """Times whole windows, as many at once as it will run; the first run, which warms it up, does not count."""
    rows = widest(model)
    windows = np.empty((rows, geometry.whole, geometry.bins), np.float32)
    windows[:] = geometry.quiet
    model.emissions(windows)
    times: list[float] = []
    for _ in range(WINDOW_RUNS):
        begin = clock.monotonic()
        model.emissions(windows)
        times.append(clock.monotonic() - begin)
    return _capacity(rows, geometry.step * geometry.hop * 1000 // SAMPLE_RATE, statistics.median(times))


def _capacity(rows: int, heard_ms: int, step_s: float) -> Capacity:
    step_s = max(step_s, 1e-6)
    tracks = int(min(max(1, SHARE * rows * heard_ms / 1000 / step_s), MAX_PLACES))
    return Capacity(rows, heard_ms, step_s * 1000, tracks)


def ready_engine(
    bundle: Bundle, device: Device, places: int | None, clock: Clock, torch: TorchOptions | None = None
) -> tuple[Engine, Capacity, str]:
    """A warm engine with room for ``places`` tracks (None: as many as were measured), and a line that says what it is.

    Args:
        bundle: verified, stateful.
        device: where to run.
        places: tracks.
        clock: what is measured with.
        torch: how torch is to serve it; None: ONNX Runtime does.

    Raises:
        BundleError: the model does not fit its card.
        ConfigError: the device that was asked for is missing or too small, or torch is missing.
    """
    engine: Engine = (
        OnnxEngine(bundle, device=device, slots=ROWS) if torch is None else _torch_engine(bundle, device, torch)
    )
    engine.warm_up()
    capacity = measure(engine, bundle.card, clock)
    engine.resize(places or capacity.tracks)
    summary = (
        f"{bundle} on {engine.device}, {engine.precision}: {capacity.heard_ms} ms of {capacity.rows} tracks in "
        f"{capacity.step_ms:.1f} ms, so it carries {capacity.tracks}"
    )
    return engine, capacity, summary


def _torch_engine(bundle: Bundle, device: Device, options: TorchOptions) -> Engine:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx")):
        raise ConfigError(
            "torch_missing",
            "the torch engine needs torch and onnx: pip install 'stenoflow[acoustic-gpu]', or set "
            "STENOFLOW_ACOUSTIC_ENGINE=onnx",
        )
    from stenoflow_acoustic.torch_engine import TorchEngine

    return TorchEngine(bundle, device=device, slots=options.largest_batch, options=options)


def ready_windows(
    bundle: Bundle, preset: str | None, device: Device, clock: Clock
) -> tuple[WindowModel, WindowGeometry, Capacity, str]:
    """A warm windowed model, its measures with a preset (None: the bundle's own), and a line that says what it is.

    Raises:
        BundleError: the model does not fit its card.
        ConfigError: the preset is unknown, or the device or what runs the model is missing.
    """
    acoustic = bundle.card.acoustic
    assert isinstance(acoustic, WindowedCard)
    geometry = WindowGeometry.of(bundle.card, preset)
    model: WindowModel
    if acoustic.runtime == "transformers":
        from stenoflow_acoustic.transformers_windows import TransformersWindows

        model = TransformersWindows.of(bundle, device)
    else:
        from stenoflow_acoustic.onnx_windows import OnnxWindows

        model = OnnxWindows(bundle, device)
    capacity = measure_windows(model, geometry, clock)
    summary = (
        f"{bundle} on {model.device}, {model.precision}, {preset or acoustic.preset}: {capacity.rows} windows of "
        f"{geometry.whole * 10} ms in {capacity.step_ms:.0f} ms, so it carries {capacity.tracks}"
    )
    return model, geometry, capacity, summary
