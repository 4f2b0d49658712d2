"""A Redis Cluster: who has which slot, and links to the right master.

A shard's keys share a hash tag, so a slot and a master; so do the two keys of a tenant. What goes over one link (a
transaction, a read) is about one slot; pipelined commands are taken apart by their keys. Redirections are not followed:
a master that says MOVED is doubted like one that does not answer, the map is asked for anew at the next call, and who
called tries again as after any break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast
from urllib.parse import urlsplit

from redis.crc import key_slot

from stenoflow.base.errors import BusUnavailable, ConfigError
from stenoflow.bus.redis.connection import Link, Pool, Server, ServerInfo, pack
from stenoflow.bus.redis.errors import Reply, checked

SUFFIX = "+cluster"
"""Of the scheme of an address: ``redis+cluster://`` or ``rediss+cluster://``."""

SLOTS = 16_384

RawRange = tuple[int, int, list[bytes | int]]
"""First and last slot, then the master (host, port, …) and its replicas."""


def is_cluster(url: str) -> bool:
    """Whether an address asks for a cluster."""
    return url.partition("://")[0].endswith(SUFFIX)


class Cluster:
    """The masters and their slots.

    Args:
        url: ``redis+cluster://[user:password@]host:port[,host:port…]``; the nodes named are asked for all others.
        deadline_s: for connecting, and for each command.

    Raises:
        ConfigError: the address cannot be understood.
    """

    def __init__(self, url: str, *, deadline_s: float) -> None:
        scheme, _, rest = url.partition("://")
        login, at, hosts = rest.rstrip("/").rpartition("@")
        self._prefix = f"{scheme.removesuffix(SUFFIX)}://{login}{at}"
        self._deadline_s = deadline_s
        self._servers: dict[str, Server] = {}
        self._seed, *_ = [self._server(host) for host in hosts.split(",")]
        self.masters: list[Server] = []
        """Those that have slots, as far as is known."""
        self._master_of: list[Server | None] = []
        self._doubted = True
        self._asking = asyncio.Lock()

    @property
    def generation(self) -> str:
        """That of all masters: where one is another, or was started again, each track is looked at."""
        return " ".join(sorted(f"{each.safe_url}:{each.generation}" for each in self.masters))

    def doubt(self) -> None:
        """Somebody was sent to the wrong master, or to none: the map is asked for before it is used again."""
        self._doubted = True

    async def master_of(self, key: bytes | str) -> Server:
        """The server that has a key's slot.

        Raises:
            BusUnavailable: no node answers, or nobody has the slot.
        """
        if self._doubted:
            await self._learn()
        master = self._master_of[key_slot(key.encode() if isinstance(key, str) else key)]
        if master is None:
            self.doubt()
            raise BusUnavailable("no master of the Redis Cluster has this slot now")
        return master

    async def check(self) -> list[ServerInfo]:
        """What must hold of every master before a process starts.

        Raises:
            ConfigError: not reachable, no cluster, too old, or it throws data away when it is full.
        """
        try:
            await self._learn()
        except BusUnavailable as error:
            raise ConfigError(
                "redis_unreachable",
                f"no node of a Redis Cluster answers at {self._seed.safe_url}: {error.message}; start it or change the "
                "URL",
            ) from error
        return [await master.check() for master in self.masters]

    async def _learn(self) -> None:
        async with self._asking:
            if self._doubted:
                self._master_of = await self._ask_for_map()
                self.masters = list({id(each): each for each in self._master_of if each is not None}.values())
                self._doubted = False

    async def _ask_for_map(self) -> list[Server | None]:
        failed: BusUnavailable | None = None
        for server in list(self._servers.values()):
            try:
                link = await server.connect(replica=True)
                try:
                    reply = (await link.ask([pack(b"CLUSTER", b"SLOTS")], 1))[0]
                finally:
                    link.close()
                return await self._read_map(server, reply)
            except BusUnavailable as error:
                failed = error
        assert failed is not None, "there is a seed"
        raise failed

    async def _read_map(self, asked: Server, reply: Reply) -> list[Server | None]:
        if isinstance(reply, BaseException) and "cluster support disabled" in str(reply):
            raise ConfigError(
                "redis_no_cluster", f"the Redis at {asked.safe_url} is no cluster: write redis:// before its address"
            )
        masters: list[Server | None] = [None] * SLOTS
        for first, last, (host, port, *_), *_ in cast(list[RawRange], checked(reply)):
            # A node that does not know its own address yet gives none: it is where it was asked.
            name = cast(bytes, host).decode() or str(urlsplit(asked.url).hostname)
            server = self._server(f"[{name}]:{int(port)}" if ":" in name else f"{name}:{int(port)}")
            masters[first : last + 1] = [server] * (last + 1 - first)
        for server in {id(each): each for each in masters if each is not None}.values():
            if not server.generation:
                (await server.connect()).close()  # which notes who is there
        return masters

    def _server(self, host: str) -> Server:
        if host not in self._servers:
            self._servers[host] = Server(f"{self._prefix}{host}", deadline_s=self._deadline_s)
        return self._servers[host]


class ClusterPool:
    """Links of one purpose to all masters; see :class:`stenoflow.bus.redis.connection.Pool`.

    Args:
        cluster: where links lead.
    """

    one_slot = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pools: dict[int, Pool] = {}
        self._closed = False

    @asynccontextmanager
    async def borrow(self, key: bytes | str) -> AsyncIterator[Link]:
        """A link to the master that has a key's slot."""
        if self._closed:
            raise BusUnavailable("the bus is closed")
        pool = self._pool(await self._cluster.master_of(key))
        try:
            async with pool.borrow(key) as link:
                yield link
        except BusUnavailable:
            self._cluster.doubt()
            raise

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Pipelined commands, each to the master of its key, those of one master in order."""
        groups: dict[int, list[int]] = {}
        keys = [key_of(command) for command in commands]
        for number, key in enumerate(keys):
            groups.setdefault(id(await self._cluster.master_of(key)), []).append(number)
        answers: dict[int, Reply] = {}

        async def one(numbers: list[int]) -> None:
            async with self.borrow(keys[numbers[0]]) as link:
                replies = await link.ask([commands[number] for number in numbers], len(numbers))
            answers.update(zip(numbers, replies, strict=True))

        # All are waited for: one append to a log is in flight, whatever became of another master's.
        for outcome in await asyncio.gather(*(one(numbers) for numbers in groups.values()), return_exceptions=True):
            if outcome is not None:
                raise outcome
        return [answers[number] for number in range(len(commands))]

    async def info(self) -> ServerInfo:
        """The fullest master's, with the oldest version."""
        if not self._cluster.masters:
            await self._cluster.master_of("")
        infos: list[ServerInfo] = []
        for master in self._cluster.masters:
            async with self._pool(master).borrow("") as link:
                infos.append(await link.info())
        fullest = max(infos, key=lambda each: each.memory_fraction)
        return replace(fullest, version=min(each.version for each in infos))

    async def close(self) -> None:
        """Closes all links; what is in flight fails."""
        self._closed = True
        for pool in self._pools.values():
            await pool.close()

    def _pool(self, server: Server) -> Pool:
        return self._pools.setdefault(id(server), Pool(server))


def key_of(command: bytes) -> bytes:
    """The key of a packed command: its first argument, but for XREADGROUP, where it follows ``STREAMS``."""
    _, _, name, _, first, *_ = command.split(b"\r\n", 5)
    return command.partition(b"\r\nSTREAMS\r\n")[2].split(b"\r\n", 2)[1] if name == b"XREADGROUP" else first
