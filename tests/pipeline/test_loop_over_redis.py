"""The worker loop over a real Redis, or three masters of a cluster: deaths, a drain, a restart with the data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from stenoflow.base.clock import SystemClock
from stenoflow.bus.records import Stages
from stenoflow.bus.redis import RedisBus
from tests import servers
from tests.unit.runtime.echo import Call, Echo
from tests.unit.runtime.test_loop import LEASE_S, Worker

CLUSTER = "cluster of redis-newest"
SHARDS = 8
"""Of a cluster: each of its three masters has some."""


@pytest.fixture(scope="module", params=(*servers.kinds(), CLUSTER))
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == CLUSTER:
        with servers.cluster("redis-newest") as hosts:
            yield f"redis+cluster://{','.join(hosts)}"
        return
    with servers.server(request.param) as running:
        yield running


@pytest.fixture
def shards(url: str) -> int:
    return SHARDS if "cluster" in url else 1


@pytest.fixture
async def bus(url: str, shards: int) -> AsyncIterator[RedisBus]:
    connected = await RedisBus.connect(url, SystemClock(), shards=shards, lease_s=LEASE_S)
    yield connected
    await connected.close()


async def test_forty_calls_survive_deaths_and_a_drain(bus: RedisBus, shards: int) -> None:
    workers = [Worker(bus, name, places=40) for name in ("a", "b")]  # type: ignore[arg-type]
    calls = [Call(bus, number, number % shards) for number in range(40)]
    for call in calls:
        await call.open()
    for turn in range(6):
        for call in calls:
            await call.say(16)
        if turn == 2:
            await workers[0].die()
            workers[0] = Worker(bus, "c", Echo(), places=40)  # type: ignore[arg-type]
        if turn == 4:
            await workers[1].drain()
            workers[1] = Worker(bus, "d", Echo(), places=40)  # type: ignore[arg-type]
        await calls[0].echoed(until=lambda entries: bool(entries) and entries[-1].end >= 16)
    for call in calls:
        await call.say(0, end=True)
    for call in calls:
        assert await call.ended() == call.written
    while await bus.claims(Stages.FEATURES, "x").open_tracks():
        await asyncio.sleep(0.02)
    for worker in workers:
        await worker.drain()
