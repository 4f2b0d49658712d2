"""What only this room can count. Lag, steps and tracks are counted by the worker loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from stenoflow_features.quality import HINTS


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
        hints = Counter(
            "stenoflow_features_hint_seconds", "Track-seconds with a hint about the sound", ["code"], registry=registry
        )
        # Every label is there from the start, so that a rate over it never lacks its first increase.
        self.hints = {code: hints.labels(code) for code in HINTS}
        self.level = Histogram(
            "stenoflow_features_level_db",
            "Level of a track-second, dBFS",
            buckets=(-90, -75, -60, -50, -45, -40, -35, -30, -25, -20, -15, -10),
            registry=registry,
        )
        self.snr = Histogram(
            "stenoflow_features_snr_db",
            "Speech over background, dB, each second in which it can be told",
            buckets=(3, 6, 10, 15, 20, 25, 30, 40, 50),
            registry=registry,
        )

    def quality(self, fields: Mapping[str, Any]) -> None:
        """Notes one second's ``quality`` mark."""
        self.level.observe(fields["level_db"])
        if fields["snr_db"] is not None:
            self.snr.observe(fields["snr_db"])
        if fields["hint"]:
            self.hints[fields["hint"]["code"]].inc()
