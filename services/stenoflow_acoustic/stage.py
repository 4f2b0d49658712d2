"""The acoustic stage: a pure function of the features log and the bundle (DESIGN 2, sentence 3, and DESIGN 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stenoflow.bundle.card import Card
from stenoflow.bus.entry import Entry, Kind
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow_acoustic.batching import Batcher
from stenoflow_acoustic.engine import Engine, Floats
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.segment import Geometry
from stenoflow_acoustic.track import AcousticTrack, Outline

LOWEST = float(np.finfo(np.float16).min)
"""Log-probabilities travel as float16; what is below its range stays finite."""


class AcousticStage:
    """Turns features into emissions for many tracks at once.

    Args:
        card: of the bundle that the engine runs.
        engine: warm; a track that is open has one of its slots.
        metrics: what is measured.
    """

    def __init__(self, card: Card, engine: Engine, metrics: AcousticMetrics) -> None:
        self._geometry = Geometry.of(card)
        self._engine = engine
        self._metrics = metrics
        self._batcher = Batcher(engine, self._geometry.step_frames, self._geometry.emissions_per_step, metrics)

    def open(self, track: Track, at: ResumeFrom) -> AcousticTrack:
        """A track at its restart point: silence, or the start of a segment, whose mark stands there in the input.

        Raises:
            NoFreeSlotError: more tracks than places.
        """
        return AcousticTrack(track.key, self._engine.allocate(), at.restart, self._geometry)

    def step(self, batch: Sequence[tuple[AcousticTrack, Sequence[Entry]]]) -> Sequence[Step]:
        """One step of many tracks: at most one entry each."""
        outlines = [track.take(entries) for track, entries in batch]
        for outline in outlines:
            self._metrics.replaced_frames.inc(outline.replaced)
        work = [(track.slot, outline.pieces) for (track, _), outline in zip(batch, outlines, strict=True)]
        emissions = self._batcher.run(work)
        return [
            self._step_of(track, outline, kept)
            for (track, _), outline, kept in zip(batch, outlines, emissions, strict=True)
        ]

    def close(self, state: AcousticTrack) -> None:
        """Gives the track's slot back."""
        self._engine.free(state.slot)

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
