"""What the acoustic stage measures beside the loop's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class AcousticMetrics:
    """The stage's metrics.

    Args:
        registry: one a process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.model_runs = Counter("stenoflow_acoustic_model_runs", "Calls of the model", registry=registry)
        self.model_steps = Counter(
            "stenoflow_acoustic_model_steps", "Steps of the model, summed over tracks", registry=registry
        )
        self.padded_steps = Counter(
            "stenoflow_acoustic_padded_steps",
            "Steps that only fill a batch up to its bucket; model_steps over both is the fill",
            registry=registry,
        )
        self.waited_rows = Counter(
            "stenoflow_acoustic_waited_rows",
            "Tracks that waited for another run of the model because the largest batch was full",
            registry=registry,
        )
        self.replaced_frames = Counter(
            "stenoflow_acoustic_replaced_frames",
            "Feature frames that were not finite and were heard as quiet",
            registry=registry,
        )
        self.batch = Histogram(
            "stenoflow_acoustic_batch_rows",
            "Tracks in one call of the model, without those that only fill it up",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.capacity = Gauge(
            "stenoflow_acoustic_measured_tracks", "Tracks that this process can carry, measured", registry=registry
        )
