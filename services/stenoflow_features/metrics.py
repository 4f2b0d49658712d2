"""What only this room can count. Lag, steps and tracks are counted by the worker loop."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class FeaturesMetrics:
    """The room's counters. No session or tenant in any label.

    Args:
        registry: the process's; None for tests and tools that nobody scrapes.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        vad = Counter(
            "stenoflow_features_vad_seconds",
            "Sound that the speech detector was asked about; 'gate' was so quiet that it needed no network",
            ["by"],
            registry=registry,
        )
        self.vad_network = vad.labels("network")
        self.vad_gate = vad.labels("gate")
        self.sound = Counter(
            "stenoflow_features_sound_seconds", "Sound that was written, speech and silence", registry=registry
        )
        self.speech = Counter(
            "stenoflow_features_speech_seconds",
            "Sound inside segments; over sound_seconds it is the share of speech",
            registry=registry,
        )
        self.segments = Counter("stenoflow_features_segments", "Segments of speech that began", registry=registry)
        self.hints = Counter(
            "stenoflow_features_hint_seconds", "Track-seconds with a hint about the sound", ["code"], registry=registry
        )
