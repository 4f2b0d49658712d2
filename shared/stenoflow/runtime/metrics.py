"""What every worker measures, by the names of the project's measuring rules. No session or tenant in any label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


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
            "Newest sound of a step: from the end of the step before it to the begin of this one",
            buckets=BUCKETS,
        )
        self.compute: Histogram = labelled(
            Histogram, "stenoflow_stage_compute_seconds", "One step over a batch", buckets=BUCKETS
        )
        self.batch: Histogram = labelled(
            Histogram, "stenoflow_stage_batch_tracks", "Tracks in one step", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.held: Gauge = labelled(Gauge, "stenoflow_worker_tracks", "Tracks that this worker holds")
        self.places: Gauge = labelled(Gauge, "stenoflow_worker_places", "Tracks that this worker can hold")
        self.takeovers: Counter = labelled(Counter, "stenoflow_takeovers", "Tracks taken over from another worker")
        self.lost: Counter = labelled(Counter, "stenoflow_tracks_lost", "Tracks that another worker took over")
        self.rebuilds: Counter = labelled(Counter, "stenoflow_rebuilds", "Tracks rebuilt from their output's tail")
        self.refused: Counter = labelled(Counter, "stenoflow_appends_refused", "Appends to a log that went further")
        self.broken: Counter = labelled(Counter, "stenoflow_sessions_broken", "Sessions with a loss that stays")

    def step(self, tracks: int, compute_s: float, began_ms: int, stamps: Sequence[Mapping[str, int]]) -> None:
        """Notes one step: its batch, its compute time, and how long each track's newest sound had waited."""
        self.batch.observe(tracks)
        self.compute.observe(compute_s)
        for of_track in stamps:
            if of_track:
                self.queue.observe(max(0, began_ms - max(of_track.values())) / 1000)
