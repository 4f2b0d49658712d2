"""Runs the windows of many tracks in few calls: those of one length share a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from stenoflow_acoustic.engine import Floats
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.segment import Piece
from stenoflow_acoustic.windows import WindowModel, faded, windows_of

WIDEST = 8
"""Windows in a call: seconds of sound each, so a larger batch gains nothing and a step takes longer."""


def widest(model: WindowModel) -> int:
    """Windows in a call of a model; with int8 one, for all rows of a batch may have one scale there."""
    return 1 if model.precision == "int8" else WIDEST


class WindowBatcher:
    """Groups and runs. Of a track only what fades into its next window is kept.

    Args:
        model: warm.
        metrics: what is measured.
    """

    def __init__(self, model: WindowModel, metrics: AcousticMetrics) -> None:
        self._model = model
        self._metrics = metrics
        self._widest = widest(model)
        self._fading: dict[int, Floats] = {}
        self._next_slot = 0

    def allocate(self) -> int:
        """A number of its own."""
        self._next_slot += 1
        return self._next_slot

    def free(self, slot: int) -> None:
        """Forgets the track."""
        self._fading.pop(slot, None)

    def run(self, work: Sequence[tuple[int, Sequence[Piece]]]) -> list[list[Floats]]:
        """The kept emissions of every (slot, pieces), in order: arrays [n, V] to be joined."""
        said: list[list[Floats]] = [[np.empty((0, 0), np.float32)] * len(pieces) for _, pieces in work]
        by_length: dict[int, list[tuple[int, int, Piece]]] = defaultdict(list)
        for track, (_, pieces) in enumerate(work):
            for number, piece in enumerate(pieces):
                by_length[len(piece.features)].append((track, number, piece))
        for alike in by_length.values():
            for begin in range(0, len(alike), self._widest):
                group = alike[begin : begin + self._widest]
                emissions = self._model.emissions(windows_of([piece for _, _, piece in group]))
                self._metrics.model_runs.inc()
                self._metrics.model_steps.inc(len(group))
                for (track, number, _), rows in zip(group, emissions, strict=True):
                    said[track][number] = rows
        return [
            [self._kept(slot, piece, rows) for piece, rows in zip(pieces, rows_of, strict=True)]
            for (slot, pieces), rows_of in zip(work, said, strict=True)
        ]

    def _kept(self, slot: int, piece: Piece, rows: Floats) -> Floats:
        assert len(rows) >= piece.last, f"{len(rows)} emissions of a window, {piece.last} were expected"
        before = None if piece.fresh else self._fading.get(slot)
        self._fading[slot] = rows[piece.last : piece.last + piece.fade].copy()  # not the whole batch is to stay
        kept = rows[piece.first : piece.last]
        return kept if before is None else faded(before, kept)
