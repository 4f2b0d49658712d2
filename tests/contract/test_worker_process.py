"""A worker as a process against a server: what ends it."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.runtime.echo import Echo

from stenoflow.base.errors import ConfigError
from stenoflow.bus.records import Stages, WorkerStatus
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow.bus.redis.records import RedisRecords
from stenoflow.runtime.process import Worker, _run
from stenoflow.runtime.settings import WorkerSettings


async def test_a_worker_that_may_not_announce_itself_ends_and_says_why(
    own_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be healthy, and no gateway would ever count its places."""

    async def denied(self: RedisRecords, status: WorkerStatus, wall_ms: int = 0) -> None:
        raise ConfigError("redis_denied", "a right is missing")

    monkeypatch.setattr(RedisRecords, "announce", denied)
    monkeypatch.setattr(RedisRecords, "withdraw", denied)
    worker = Worker(Echo(), places=1)
    with pytest.raises(ConfigError, match="a right is missing"):
        async with asyncio.timeout(10):
            await _run(Stages.FEATURES, WorkerSettings(redis=own_server.url), worker, CollectorRegistry())
