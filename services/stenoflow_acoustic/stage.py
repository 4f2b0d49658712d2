"""The acoustic stage: a pure function of the features log and the bundle (DESIGN 2, sentence 3, and DESIGN 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stenoflow.bundle.card import Card
from stenoflow.bus.entry import Entry, Kind
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow_acoustic.batching import Batcher
from stenoflow_acoustic.engine import Engine, Floats
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.segment import Geometry, Piece
from stenoflow_acoustic.track import AcousticTrack, Outline
from stenoflow_acoustic.window_batching import WindowBatcher
from stenoflow_acoustic.windows import WindowGeometry, WindowModel

LOWEST = float(np.finfo(np.float16).min)
"""Log-probabilities travel as float16; what is below its range stays finite."""


class Runner(Protocol):
    """Does the model's part of many tracks' work, in few calls."""

    def allocate(self) -> int:
        """What the model needs for a track, by number."""
        ...

    def free(self, slot: int) -> None:
        """Gives it back."""
        ...

    def run(self, work: Sequence[tuple[int, Sequence[Piece]]]) -> list[list[Floats]]:
        """The kept emissions of every (slot, pieces), in order: arrays [n, V] to be joined."""
        ...


class AcousticStage:
    """Turns features into emissions for many tracks at once.

    Args:
        geometry: the bundle's measures.
        runner: a warm model behind it; a track that is open has one of its slots.
        metrics: what is measured.
    """

    def __init__(self, geometry: Geometry | WindowGeometry, runner: Runner, metrics: AcousticMetrics) -> None:
        self._geometry = geometry
        self._runner = runner
        self._metrics = metrics

    @classmethod
    def stateful(cls, card: Card, engine: Engine, metrics: AcousticMetrics) -> AcousticStage:
        """Over a streaming model's engine."""
        geometry = Geometry.of(card)
        steps = geometry.step_frames, geometry.overlap_frames, geometry.emissions_per_step
        return cls(geometry, Batcher(engine, *steps, metrics), metrics)

    @classmethod
    def windowed(cls, geometry: WindowGeometry, model: WindowModel, metrics: AcousticMetrics) -> AcousticStage:
        """Over a model that hears windows."""
        return cls(geometry, WindowBatcher(model, metrics), metrics)

    def open(self, track: Track, at: ResumeFrom) -> AcousticTrack:
        """A track at its restart point: silence, or the start of a segment, whose mark stands there in the input.

        Raises:
            NoFreeSlotError: more tracks than places.
        """
        return AcousticTrack(track.key, self._runner.allocate(), at.restart, self._geometry)

    def step(self, batch: Sequence[tuple[AcousticTrack, Sequence[Entry]]]) -> Sequence[Step]:
        """One step of many tracks: at most one entry each."""
        outlines = [track.take(entries) for track, entries in batch]
        for outline in outlines:
            self._metrics.replaced_frames.inc(outline.replaced)
        work = [(track.slot, outline.pieces) for (track, _), outline in zip(batch, outlines, strict=True)]
        emissions = self._runner.run(work)
        return [
            self._step_of(track, outline, kept)
            for (track, _), outline, kept in zip(batch, outlines, emissions, strict=True)
        ]

    def close(self, state: AcousticTrack) -> None:
        """Gives the track's slot back."""
        self._runner.free(state.slot)

    def _step_of(self, track: AcousticTrack, outline: Outline, kept: Sequence[Floats]) -> Step:
        entries = (self._entry(track, outline, kept),) if outline.end > outline.begin or outline.marks else ()
        return Step(entries, restart=track.restart, position=outline.end)

    def _entry(self, track: AcousticTrack, outline: Outline, kept: Sequence[Floats]) -> Entry:
        segment = track.segment
        return Entry(
            track.key,
            Kind.EMISSIONS,
            outline.begin,
            outline.end,
            spans=tuple(outline.spans),
            hop=self._geometry.emission_hop,
            frame_bytes=2 * self._geometry.symbols,
            data=b"".join(np.maximum(rows, LOWEST).astype(np.float16).tobytes() for rows in kept),
            marks=tuple(outline.marks),
            restart=track.restart,
            carry={} if segment is None else {"segment": segment.begin},
        )
