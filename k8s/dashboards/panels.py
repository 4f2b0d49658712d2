"""What a dashboard is made of: panels, and the queries that many of them ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """One picture. ``queries`` are pairs of legend and expression; a legend of ``{{label}}`` names each series."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    text: str
    kind: str = "timeseries"
    stacked: bool = False


def quantiles(metric: str, by: str = "", shares: Sequence[float] = (0.5, 0.95, 0.99)) -> list[tuple[str, str]]:
    """Quantiles of a histogram, by a label where one is given."""
    legend = f"{{{{{by}}}}} " if by else ""
    labels = f"le, {by}" if by else "le"
    return [
        (f"{legend}p{share * 100:g}", f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{RATE})))")
        for share in shares
    ]


def mean(metric: str, by: str = "") -> str:
    """The mean of a histogram."""
    over = f" by ({by})" if by else ""
    return f"sum{over} (rate({metric}_sum{RATE})) / sum{over} (rate({metric}_count{RATE}))"


def rate(metric: str, by: str = "") -> str:
    """A counter's rate a second, over all processes."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{RATE}))"


def late(window: str) -> str:
    """The share of chunks that took longer than the promised second."""
    good, all_of = 'stenoflow_chunk_seconds_bucket{le="1.0"}', "stenoflow_chunk_seconds_count"
    return f"1 - sum(rate({good}[{window}])) / sum(rate({all_of}[{window}]))"
