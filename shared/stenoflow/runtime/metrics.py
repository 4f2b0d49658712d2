"""What every worker measures, by the names of the project's measuring rules. No session or tenant in any label."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""A step of one chunk takes milliseconds, and 5 s end the process."""

LOOP_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
"""An event loop that wakes 100 ms late renews leases late (DESIGN 4)."""

PEAK_S = 15.0
"""A gauge of what was worst must outlive the time between two scrapes."""

RECEIVED = "received"
"""The stamp of a gateway on sound, wall-clock milliseconds."""


def new_registry() -> CollectorRegistry:
    """The one registry of a process, with what the process itself costs (``process_cpu_seconds_total`` and so on)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class Peak:
    """The largest of the values noted lately: for at least ``PEAK_S`` and at most twice as long.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._turn = 0
        self._newer = self._older = 0.0

    def note(self, value: float) -> None:
        """Takes a value."""
        self._forget()
        self._newer = max(self._newer, value)

    def value(self) -> float:
        """The largest; 0 where nothing was noted lately."""
        self._forget()
        return max(self._newer, self._older)

    def _forget(self) -> None:
        turn = int(self._now() / PEAK_S)
        if turn != self._turn:
            self._older = self._newer if turn == self._turn + 1 else 0.0
            self._newer = 0.0
            self._turn = turn


class WorkerMetrics:
    """The loop's metrics.

    Args:
        stage: the stage's name; a constant label.
        registry: one a process.
    """

    def __init__(self, stage: str, registry: CollectorRegistry) -> None:
        def labelled(kind: type, name: str, text: str, **options: object):  # type: ignore[no-untyped-def]
            return kind(name, text, ["stage"], registry=registry, **options).labels(stage)

        self.queue: Histogram = labelled(
            Histogram,
            "stenoflow_stage_queue_seconds",
            "Newest sound of a step: from the end of the stage before's step (features: from its arrival at the "
            "gateway) to the begin of this one, so the append between them is in it",
            buckets=BUCKETS,
        )
        self.compute: Histogram = labelled(
            Histogram, "stenoflow_stage_compute_seconds", "One step over a batch, begin to end", buckets=BUCKETS
        )
        self.append: Histogram = labelled(
            Histogram,
            "stenoflow_stage_append_seconds",
            "One append of a step's output to the logs, asked to answered",
            buckets=BUCKETS,
        )
        self.batch: Histogram = labelled(
            Histogram, "stenoflow_stage_batch_tracks", "Tracks in one step", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self._lag = Peak()
        lag: Gauge = labelled(
            Gauge,
            "stenoflow_stage_lag_seconds",
            "Age of the newest sound in a step when the step ended, since its arrival at the gateway: the largest of "
            "the last 15 to 30 seconds, 0 without sound",
        )
        lag.set_function(self._lag.value)
        self.sound: Counter = labelled(
            Counter,
            "stenoflow_stage_sound_seconds",
            "Sound that the stage is through with, all tracks; over stage_compute_seconds_sum or "
            "process_cpu_seconds_total it is the real-time factor",
        )
        self.loop_lag: Histogram = labelled(
            Histogram, "stenoflow_worker_loop_lag_seconds", "How late the event loop woke", buckets=LOOP_LAG_BUCKETS
        )
        self.held: Gauge = labelled(Gauge, "stenoflow_worker_tracks", "Tracks that this worker holds")
        self.places: Gauge = labelled(Gauge, "stenoflow_worker_places", "Tracks that this worker can hold")
        self.takeovers: Counter = labelled(Counter, "stenoflow_takeovers", "Tracks taken over from another worker")
        self.lost: Counter = labelled(Counter, "stenoflow_tracks_lost", "Tracks that another worker took over")
        self.rebuilds: Counter = labelled(Counter, "stenoflow_rebuilds", "Tracks rebuilt from their output's tail")
        self.refused: Counter = labelled(Counter, "stenoflow_appends_refused", "Appends to a log that went further")
        self.broken: Counter = labelled(Counter, "stenoflow_sessions_broken", "Sessions with a loss that stays")
        self.audio_lost: Counter = labelled(
            Counter,
            "stenoflow_audio_lost_seconds",
            "Sound that was acknowledged and is missing in the stage's input at the second look too; must be 0 (its "
            "client is asked to send it again)",
        )

    def step(self, tracks: int, compute_s: float, began_ms: int, stamps: Sequence[Mapping[str, int]]) -> None:
        """Notes one step: its batch, its compute time, and how long each track's newest sound had waited."""
        self.batch.observe(tracks)
        self.compute.observe(compute_s)
        for of_track in stamps:
            if of_track:
                self.queue.observe(max(0, began_ms - max(of_track.values())) / 1000)
            if RECEIVED in of_track:
                self._lag.note(max(0.0, (began_ms - of_track[RECEIVED]) / 1000 + compute_s))
