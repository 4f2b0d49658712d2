"""Worlds: one bus each, over memory and over every real server, for the one suite that holds for all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from tests import servers
from tests.contract.worlds import LEASE_S, FakeClock, MemoryWorld, RedisWorld, World

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


@pytest.fixture(params=("memory", *REAL))
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A bus over memory, or over a real server."""
    if request.param == "memory":
        clock = FakeClock()
        yield MemoryWorld(MemoryBus(clock, lease_s=LEASE_S), clock)
        return
    async for made in _redis_world(request.param, request):
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
