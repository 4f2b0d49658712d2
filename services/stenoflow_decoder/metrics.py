"""What only this room can count. Lag, steps and tracks are counted by the worker loop."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from stenoflow_decoder.endpoint import Reason


class DecoderMetrics:
    """The room's counters. No session or tenant in any label, and no words.

    Args:
        registry: the process's; None for tests and tools that nobody scrapes.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.frames = Counter("stenoflow_decoder_frames", "Emission frames decoded", registry=registry)
        self.words = Counter("stenoflow_decoder_words", "Words in finals", registry=registry)
        self.confidence = Histogram(
            "stenoflow_decoder_word_confidence",
            "Confidence of each word in a final of the first pass, 0 to 1",
            buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
            registry=registry,
        )
        self.spotted = Counter("stenoflow_decoder_spotted", "Occurrences of phrases told", registry=registry)
        self.partials = Counter("stenoflow_decoder_partials", "Partials made", registry=registry)
        finals = Counter(
            "stenoflow_decoder_finals", "Utterances made final, by what ended them", ["reason"], registry=registry
        )
        self.finals = {reason: finals.labels(reason.value) for reason in Reason}
