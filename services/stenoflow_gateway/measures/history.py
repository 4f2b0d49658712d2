"""The last minutes of this gateway, for its own page of latencies: a point every few seconds, from its own metrics."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from prometheus_client import Histogram

from stenoflow.base.clock import Clock
from stenoflow_gateway.measures.metrics import GatewayMetrics

EVERY_S = 5.0
KEPT = 180
"""Points: a quarter of an hour."""

WINDOW = 6
"""A point's quantiles are those of the last half minute: in 5 s a lone caller says too little."""

SHOWN = ("word", "final", "chunk")

Buckets = tuple[tuple[float, float], ...]
"""Upper bound in seconds and how many were below it, ascending; the last bound is infinite."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """All counts so far: ``latencies`` by name, and of each step its seconds and how many."""

    latencies: Mapping[str, Buckets]
    steps: Mapping[str, tuple[float, float]]


class History:
    """Samples the metrics and keeps what the page shows.

    Args:
        metrics: of this gateway.
        clock: time.
        state: the present calls, free places (None while they are not known) and lag.
    """

    def __init__(
        self, metrics: GatewayMetrics, clock: Clock, state: Callable[[], tuple[int, int | None, float]]
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._state = state
        self._samples: deque[_Sample] = deque(maxlen=WINDOW + 1)
        self._points: deque[dict[str, Any]] = deque(maxlen=KEPT)

    async def run(self) -> None:
        """Samples until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(EVERY_S)

    def sample(self) -> None:
        """Adds a point."""
        self._samples.append(
            _Sample(
                {name: buckets_of(self._metrics.latencies[name]) for name in SHOWN},
                {step: _sum_of(histogram) for step, histogram in self._metrics.steps.items()},
            )
        )
        before, now = self._samples[0], self._samples[-1]
        calls, room, lag_s = self._state()
        steps = {step: _mean_ms(before.steps[step], now.steps[step]) for step in now.steps}
        self._points.append(
            {
                "at_ms": self._clock.wall_ms(),
                "calls": calls,
                "room": room,
                "lag_ms": round(lag_s * 1000),
                **{name: _quantiles(before.latencies[name], now.latencies[name]) for name in SHOWN},
                "steps": None if None in steps.values() else steps,
            }
        )

    def body(self, after_ms: int = 0) -> dict[str, Any]:
        """What the route answers: points that are newer than ``after_ms``, oldest first. All times are milliseconds."""
        return {
            "every_ms": round(EVERY_S * 1000),
            "window_ms": round(EVERY_S * 1000 * WINDOW),
            "kept": KEPT,
            "points": [point for point in self._points if point["at_ms"] > after_ms],
        }


def buckets_of(histogram: Histogram) -> Buckets:
    """The counts of a histogram without labels."""
    samples = next(iter(histogram.collect())).samples
    return tuple((float(each.labels["le"]), each.value) for each in samples if each.name.endswith("_bucket"))


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """A quantile as Prometheus' ``histogram_quantile`` reckons it, seconds; None where nothing was counted."""
    total = buckets[-1][1]
    if total <= 0:
        return None
    rank = share * total
    for (low, below), (high, count) in pairwise([(0.0, 0.0), *buckets]):
        if count >= rank:
            return low if high == float("inf") else low + (high - low) * (rank - below) / (count - below)
    raise AssertionError("the last bucket counts all")


def _quantiles(before: Buckets, now: Buckets) -> dict[str, float] | None:
    new = [(bound, count - old) for (bound, count), (_, old) in zip(now, before, strict=True)]
    p50, p95 = quantile(0.5, new), quantile(0.95, new)
    if p50 is None or p95 is None:
        return None
    return {"p50_ms": round(p50 * 1000), "p95_ms": round(p95 * 1000), "count": round(new[-1][1])}


def _sum_of(histogram: Histogram) -> tuple[float, float]:
    samples = {each.name.rpartition("_")[2]: each.value for each in next(iter(histogram.collect())).samples}
    return samples["sum"], samples["count"]


def _mean_ms(before: tuple[float, float], now: tuple[float, float]) -> float | None:
    count = now[1] - before[1]
    return round((now[0] - before[0]) / count * 1000, 1) if count else None
