"""Worlds: one bus each, over memory and over every real server, for the one suite that holds for all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from tests import servers
from tests.contract.worlds import LEASE_S, FakeClock, MemoryWorld, RedisWorld, World

from stenoflow.base.clock import SystemClock
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.embedded import EmbeddedRedis

DOCKER_MISSING = servers.docker_is_missing()
REAL = servers.KINDS if DOCKER_MISSING else (*servers.KINDS, "redis-docker")
"""Without an engine one test says so (``test_servers.py``), not every one."""


@pytest.fixture(scope="session")
def server_urls() -> Iterator[dict[str, str]]:
    """Addresses of the servers that this process has started so far; they end with the session."""
    running: list[EmbeddedRedis] = []
    urls: dict[str, str] = {}

    class Started(dict[str, str]):
        def __missing__(self, kind: str) -> str:
            server = EmbeddedRedis(servers.binary_of(kind), max_memory_mb=512)
            server.start()
            running.append(server)
            self[kind] = server.url
            return server.url

    urls = Started()
    yield urls
    for server in running:
        server.close()


@pytest.fixture(scope="session")
def docker_url() -> Iterator[str]:
    """A server in a container."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(servers.DOCKER_IMAGE) as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


def _url_of(kind: str, request: pytest.FixtureRequest) -> str:
    if kind == "redis-docker":
        return str(request.getfixturevalue("docker_url"))
    urls: dict[str, str] = request.getfixturevalue("server_urls")
    return urls[kind]


async def _redis_world(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[RedisWorld]:
    url = _url_of(kind, request)
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
