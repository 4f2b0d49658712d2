"""Worlds: one bus each, over memory and over every real server, for the one suite that holds for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from redis.cluster import RedisCluster
from tests import servers
from tests.contract.worlds import LEASE_S, ClusterWorld, FakeClock, MemoryWorld, RedisWorld, World

from stenoflow.base.clock import SystemClock
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.embedded import EmbeddedRedis

REAL = servers.kinds()
"""Without an engine the head of the run and one test (``test_servers.py``) say so, not every one."""


@pytest.fixture(scope="session")
def server_urls() -> Iterator[dict[str, str]]:
    """Addresses of the servers that this process has started so far; they end with the session."""
    with ExitStack() as running:

        class Started(dict[str, str]):
            def __missing__(self, kind: str) -> str:
                self[kind] = running.enter_context(servers.server(kind))
                return self[kind]

        yield Started()


async def _redis_world(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[RedisWorld]:
    urls: dict[str, str] = request.getfixturevalue("server_urls")
    url = urls[kind]
    raw = servers.Raw(url)
    raw.flush()
    bus = await RedisBus.connect(url, SystemClock(), lease_s=LEASE_S)
    yield RedisWorld(bus, url, raw)
    await bus.close()
    raw.flush()
    raw.client.close()


CLUSTER_SHARDS = 8
"""Enough that each of three masters has some."""


@pytest.fixture(scope="session")
def cluster_nodes() -> Iterator[dict[str, list[str]]]:
    """Nodes of the clusters that this process has started so far; they end with the session."""
    with ExitStack() as running:

        class Started(dict[str, list[str]]):
            def __missing__(self, kind: str) -> list[str]:
                self[kind] = running.enter_context(servers.cluster(kind))
                return self[kind]

        yield Started()


async def _cluster_world(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[ClusterWorld]:
    clusters: dict[str, list[str]] = request.getfixturevalue("cluster_nodes")
    hosts = clusters[kind]
    nodes = [servers.Raw(f"redis://{host}") for host in hosts]
    for raw in nodes:
        raw.flush()
    name, _, port = hosts[0].partition(":")
    client = RedisCluster(host=name, port=int(port))
    url = f"redis+cluster://{','.join(hosts)}"
    bus = await RedisBus.connect(url, SystemClock(), shards=CLUSTER_SHARDS, lease_s=LEASE_S)
    yield ClusterWorld(bus, nodes, client)
    await bus.close()
    client.close()
    for raw in nodes:
        raw.flush()
        raw.client.close()


@pytest.fixture(params=("memory", *REAL, "cluster-of-redis-newest"))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A bus over memory, over a real server, or over a cluster of three masters."""
    if request.param == "memory":
        clock = FakeClock()
        yield MemoryWorld(MemoryBus(clock, lease_s=LEASE_S), clock)
        return
    kind = request.param.removeprefix("cluster-of-")
    make = _redis_world if kind == request.param else _cluster_world
    async for made in make(kind, request):
        yield made


@pytest.fixture(params=servers.KINDS)
async def cluster_world(request: pytest.FixtureRequest) -> AsyncIterator[ClusterWorld]:
    """A bus over three masters, for what only a cluster can do wrong."""
    async for made in _cluster_world(request.param, request):
        yield made


@pytest.fixture(params=REAL)
async def redis_world(request: pytest.FixtureRequest) -> AsyncIterator[RedisWorld]:
    """A bus over a real server, for what only connections can do wrong."""
    async for made in _redis_world(request.param, request):
        yield made


@pytest.fixture(params=servers.KINDS)
def own_server(request: pytest.FixtureRequest) -> Iterator[EmbeddedRedis]:
    """A server that the test may kill, stop and restart; it keeps its data."""
    server = EmbeddedRedis(servers.binary_of(request.param), keep_data=True)
    with server:
        yield server
