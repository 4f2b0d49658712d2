"""What gateways count: sums over gateways are what clients got, and no series can be made from outside."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.gateway.harness import running_gateway, serving
from tests.unit.gateway.world import UTTERANCE, sound

from stenoflow.protocol import messages as wire
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.measures.history import History, quantile
from stenoflow_gateway.measures.metrics import GatewayMetrics

EXAMPLES = Path(__file__).resolve().parents[2] / "wire" / "examples"


def counted(gateway: Gateway, family: str) -> dict[tuple[str, ...], float]:
    """A counter's values by its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in gateway.registry.collect()
        for sample in metric.samples
        if sample.name == f"{family}_total"
    }


async def test_summed_over_gateways_the_counter_is_what_clients_got() -> None:
    async with running_gateway() as first, serving(first.bus, first.echo) as second:
        got: dict[str, int] = {}
        for running in (first, second, first):
            async with running.dial() as caller:
                await caller.start()
                await caller.say(0, sound(0, 2 * UTTERANCE))
                await caller.send(wire.Stop())
                await caller.until("ended")
                await caller.closed()
                for message in caller.seen:
                    got[message.type] = got.get(message.type, 0) + 1
        summed: dict[str, float] = {}
        for running in (first, second):
            for (kind,), value in counted(running.gateway, "stenoflow_events_sent").items():
                summed[kind] = summed.get(kind, 0) + value
        assert summed == got
        assert got["final"] == 6 and got["ended"] == 3
        assert sum(counted(each.gateway, "stenoflow_gateway_sockets_opened")[()] for each in (first, second)) == 3


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_each_message_is_counted_by_its_type(path: Path) -> None:
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry, lambda: 0.0, lambda: 0)
    stored = json.loads(path.read_text("utf-8"))
    for example in stored if isinstance(stored, list) else [stored]:
        for separators in ((",", ":"), (", ", ": ")):
            text = json.dumps({"type": example["type"], **example}, separators=separators)
            metrics.sent(text)
        assert registry.get_sample_value("stenoflow_events_sent_total", {"type": example["type"]})
    assert registry.get_sample_value("stenoflow_events_sent_total", {"type": "other"}) is None


async def test_http_is_counted_by_route_and_strangers_make_no_series() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        await http.get("/healthz")
        for number in range(5):
            await http.request(f"STRANGE{number}", f"/nowhere/{number}")
        requests = counted(running.gateway, "stenoflow_http_requests")
        assert requests["/healthz", "GET", "200"] == 1
        assert len(requests) == 2 and sum(requests.values()) == 6


async def test_a_rewind_is_counted() -> None:
    async with running_gateway() as running, running.dial() as caller:
        await caller.start()
        await caller.say(500, sound(500, 1000))
        await caller.until("status", lambda status: status.status == "rewind")
        assert counted(running.gateway, "stenoflow_rewinds")[()] == 1


# ---------------------------------------------------------------- the built-in page's figures


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1000

    def monotonic(self) -> float:
        return self.now_ms / 1000

    def wall_ms(self) -> int:
        return self.now_ms


def test_quantiles_are_prometheus_own() -> None:
    buckets = [(0.1, 0.0), (0.2, 50.0), (0.4, 100.0), (float("inf"), 100.0)]
    assert quantile(0.5, buckets) == pytest.approx(0.2)
    assert quantile(0.95, buckets) == pytest.approx(0.38)
    assert quantile(0.5, [(0.1, 0.0), (float("inf"), 4.0)]) == 0.1
    assert quantile(0.5, [(0.1, 0.0), (float("inf"), 0.0)]) is None


def test_points_cover_the_last_half_minute_and_no_more() -> None:
    clock, metrics = Clock(), GatewayMetrics(CollectorRegistry(), lambda: 0.0, lambda: 0)
    history = History(metrics, clock, lambda: (2, 7, 0.25))
    history.sample()
    for _ in range(4):
        metrics.measure("word", 0.55)
    clock.now_ms = 6000
    history.sample()
    old, new = history.body()["points"]
    assert (old["word"], new["word"]["count"]) == (None, 4)
    assert 500 <= new["word"]["p50_ms"] <= 600
    assert (new["calls"], new["room"], new["lag_ms"], new["final"], new["steps"]) == (2, 7, 250, None, None)
    assert [point["at_ms"] for point in history.body(after_ms=1000)["points"]] == [6000]
    for _ in range(6):
        clock.now_ms += 5000
        history.sample()
    assert history.body()["points"][-1]["word"] is None, "what is older than half a minute is in no point"


async def test_the_page_asks_for_what_it_has_not() -> None:
    async with running_gateway() as running, running.dial() as caller, httpx.AsyncClient(base_url=running.url) as http:
        await caller.start()
        await caller.say(0, sound(0, UTTERANCE))
        await caller.until("final")
        running.gateway.history.sample()
        body = (await http.get("/latency/figures")).json()
        last = body["points"][-1]
        assert last["calls"] == 1 and last["word"]["count"] == 1 and last["chunk"]["p95_ms"] > 0
        assert (await http.get("/latency/figures", params={"after_ms": last["at_ms"]})).json()["points"] == []
