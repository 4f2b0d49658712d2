"""What only this room can count. Lag, steps and tracks are counted by the worker loop."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from stenoflow_second_pass.guard import Refusal

OUTCOMES = ("heard", "unheard", *Refusal)


class SecondPassMetrics:
    """The room's counters. No session or tenant in any label, and no words.

    Args:
        registry: the process's; None for tests and tools that nobody scrapes.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        utterances = Counter(
            "stenoflow_second_pass_utterances",
            "Utterances: heard, unheard for want of time or sound, or by why the reading was refused",
            ["outcome"],
            registry=registry or CollectorRegistry(),
        )
        # Every label is there from the start, so that a rate over it never lacks its first increase.
        self._utterances = {str(outcome): utterances.labels(str(outcome)) for outcome in OUTCOMES}

    def utterances(self, outcome: str) -> Counter:
        """The counter of one outcome."""
        return self._utterances[outcome]
