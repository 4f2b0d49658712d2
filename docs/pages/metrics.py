"""The page of metrics: a table a service, from the classes that declare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from docs.pages.tables import page, prose, table
from prometheus_client import CollectorRegistry

from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow_acoustic.accelerator import Accelerator
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_decoder.metrics import DecoderMetrics
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_second_pass.metrics import SecondPassMetrics

INTRO = """
What each process says at `/metrics`, in the text format of Prometheus. The names of latencies are those by which the
project measures: each line says from what to what. One registry a process; no session, no tenant and no word in any
label. Besides these every process has the usual `process_*` (processor time, memory, files).

A server cannot know when a word left a mouth. Gateways take the sound's own clock: the earliest arrival of a chunk,
less its place in the sound, over the last 10 to 20 s. So `word`, `first_partial`, `final` and `endpoint` lack the way
from the mouth to the gateway at its best, and nothing else; they are measured on live calls alone. Load tests and the
page measure the same from the sender's clock.
"""


class Described(NamedTuple):
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


SERVICES: Mapping[str, tuple[str, Callable[[CollectorRegistry], object]]] = {
    "Every worker": (
        "`stage` is `features`, `acoustic`, `decoder` or `second_pass`. A gateway has these too, of the second pass: "
        "it stands in where none is left.",
        lambda registry: WorkerMetrics("features", registry),
    ),
    "stenoflow-gateway": ("", lambda registry: GatewayMetrics(registry, lambda: 0.0, lambda: 0)),
    "stenoflow-features": ("", FeaturesMetrics),
    "stenoflow-acoustic": ("", AcousticMetrics),
    "stenoflow-acoustic on a GPU": (
        "Only where the model runs on a GPU, and NVIDIA's library and its bindings (the extra `gpu`) are there.",
        lambda registry: registry.register(Accelerator(None)),
    ),
    "stenoflow-decoder": ("", DecoderMetrics),
    "stenoflow-second-pass": ("", SecondPassMetrics),
}
"""Heading, what is to be said first, and what declares the metrics."""


def described(declare: Callable[[CollectorRegistry], object]) -> list[Described]:
    """All metrics that something declares, in its order, by the names that queries use."""
    registry = CollectorRegistry()
    declare(registry)
    found = []
    for collector in registry._collector_to_names:
        for family in collector.describe() if hasattr(collector, "describe") else ():
            labels: tuple[str, ...] = tuple(getattr(collector, "_labelnames", getattr(family, "_labelnames", ())))
            name = family.name + ("_total" if family.type == "counter" else "")
            found.append(Described(name, family.type, labels, family.documentation))
    return found


def make() -> str:
    """The page."""
    parts = []
    for heading, (first, declare) in SERVICES.items():
        rows = [
            (
                f"`{each.name}`",
                each.kind,
                ", ".join(f"`{label}`" for label in each.labels) or "—",
                prose(each.text) + ".",
            )
            for each in described(declare)
        ]
        parts.append(
            "\n\n".join(filter(None, (f"## {heading}", first, table(("name", "kind", "labels", "what"), rows))))
        )
    return page("Metrics", INTRO, *parts)
