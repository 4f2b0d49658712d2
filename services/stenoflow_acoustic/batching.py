"""Runs the work of many tracks in few calls of the model.

A track's work is cut into runs of 8, 4, 2 and 1 steps; tracks whose next run is as long share a batch. The longest
go first, so that what is left over from them meets the shorter work of others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stenoflow_acoustic.engine import Engine, Floats
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.segment import Piece


class Run(NamedTuple):
    """A part of a piece that fits a bucket."""

    steps: int
    features: Floats
    fresh: bool
    first: int
    last: int


class Batcher:
    """Cuts, groups and runs.

    Args:
        engine: warm.
        step_frames: feature frames per step.
        overlap_frames: feature frames that a step hears beyond its own.
        emissions_per_step: E.
        metrics: what is measured.
    """

    def __init__(
        self, engine: Engine, step_frames: int, overlap_frames: int, emissions_per_step: int, metrics: AcousticMetrics
    ) -> None:
        self._engine = engine
        self._step_frames = step_frames
        self._overlap = overlap_frames
        self._per_step = emissions_per_step
        self._metrics = metrics

    def allocate(self) -> int:
        """A slot of the engine, for a track."""
        return self._engine.allocate()

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        self._engine.free(slot)

    def run(self, work: Sequence[tuple[int, Sequence[Piece]]]) -> list[list[Floats]]:
        """The kept emissions of every (slot, pieces), in order: arrays [n, V] to be joined."""
        queues = [deque(run for piece in pieces for run in self._cut(piece)) for _, pieces in work]
        kept: list[list[Floats]] = [[] for _ in work]
        widest = self._engine.batch_buckets[-1]
        while steps := max((queue[0].steps for queue in queues if queue), default=0):
            group = [number for number, queue in enumerate(queues) if queue and queue[0].steps == steps]
            self._metrics.waited_rows.inc(max(0, len(group) - widest))
            for begin in range(0, len(group), widest):
                numbers = group[begin : begin + widest]
                runs = [queues[number].popleft() for number in numbers]
                slots = [work[number][0] for number in numbers]
                for number, run, log_probs in zip(numbers, runs, self._call(steps, slots, runs), strict=True):
                    if run.last > run.first:
                        kept[number].append(log_probs[run.first : run.last])
        return kept

    def _call(self, steps: int, slots: Sequence[int], runs: Sequence[Run]) -> Floats:
        fresh = [slot for slot, run in zip(slots, runs, strict=True) if run.fresh]
        if fresh:
            self._engine.reset(fresh)
        bucket = next(size for size in self._engine.batch_buckets if size >= len(runs))
        self._metrics.model_runs.inc()
        self._metrics.batch.observe(len(runs))
        self._metrics.model_steps.inc(steps * len(runs))
        self._metrics.padded_steps.inc(steps * (bucket - len(runs)))
        return self._engine.run(np.array(slots, np.intp), np.stack([run.features for run in runs]))

    def _cut(self, piece: Piece) -> Iterator[Run]:
        total = (len(piece.features) - self._overlap) // self._step_frames
        done = 0
        while done < total:
            steps = max(size for size in self._engine.step_buckets if size <= total - done)
            row, rows = done * self._per_step, steps * self._per_step
            yield Run(
                steps,
                piece.features[done * self._step_frames : (done + steps) * self._step_frames + self._overlap],
                piece.fresh and done == 0,
                min(max(piece.first - row, 0), rows),
                min(max(piece.last - row, 0), rows),
            )
            done += steps
