"""Connections to one server: exclusive while a command is in flight, thrown away when it does not end well.

redis-py opens them (addresses, TLS, AUTH, HELLO) and hiredis parses; its clients, pools and retries are not used. A
command in flight is never cancelled (its reply would reach the next caller, redis/redis-py#2665): whatever cuts a
command short closes its connection.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from stenoflow.base.errors import BusUnavailable, ConfigError
from stenoflow.bus.redis.errors import Reply, checked, is_away, translated

OLDEST_VERSION = (6, 2)
"""XAUTOCLAIM, NOMKSTREAM and MINID came with it."""

KEPT_IDLE = 4
"""Connections that a pool keeps when nobody uses them."""

MOST_LENT = 128
"""Links of a pool in use at once, more than there are shards to be read: who wants one more waits for one that comes
back. After a failover a gateway asks for the ends of all its logs together; a new connection each would cost Redis far
more than the answers, and a proxy before it all that it has."""

Argument = bytes | str | int


def pack(*arguments: Argument) -> bytes:
    """A command as it goes on the wire."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its stub knows tuples of one only
    return packed


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself.

    Args:
        version: of Redis; Valkey gives what it is compatible to.
        generation: ``run_id`` and ``master_replid``: another one, and the end of a log may be lost.
        role: ``master`` or ``slave``.
        memory_policy: what it does when full.
        memory_fraction: used memory over the limit; 0.0 without one.
    """

    version: tuple[int, ...]
    generation: str
    role: str
    memory_policy: str
    memory_fraction: float

    @classmethod
    def parse(cls, text: str) -> ServerInfo:
        """From the answers to INFO."""
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        limit = int(fields.get("maxmemory", 0))
        return cls(
            version=tuple(int(part) for part in fields["redis_version"].split(".")),
            generation=f"{fields['run_id']}:{fields['master_replid']}",
            role=fields.get("role", "master"),
            memory_policy=fields.get("maxmemory_policy", "noeviction"),
            memory_fraction=int(fields["used_memory"]) / limit if limit else 0.0,
        )


_INFO = pack("INFO", "server") + pack("INFO", "replication") + pack("INFO", "memory")
_INFO_REPLIES = 3


class Link:
    """One connection, used by one caller at a time.

    Args:
        connection: redis-py's, connected.
        deadline_s: after so many seconds without the whole answer the connection is given up.
    """

    def __init__(self, connection: AbstractConnection, deadline_s: float) -> None:
        self._connection = connection
        self._deadline_s = deadline_s
        self.alive = True

    async def ask(self, packed: bytes | Iterable[bytes], replies: int, *, wait_s: float = 0.0) -> list[Reply]:
        """Sends packed commands and returns their replies in order; error replies come as exceptions in the list.

        Args:
            packed: one or more commands.
            replies: how many answers they give.
            wait_s: how long the server itself may block.

        Raises:
            BusUnavailable: no, or not the whole answer; nobody knows what was done.
        """
        assert self.alive, "a closed link was used again"
        answers: list[Reply] = []
        try:
            async with asyncio.timeout(self._deadline_s + wait_s):
                await self._connection.send_packed_command(packed, check_health=False)
                for _ in range(replies):
                    try:
                        answers.append(await self._connection.read_response(timeout=math.inf))
                    except ResponseError as error:
                        answers.append(error)
        except BaseException as error:
            self.close()
            raise translated(error) from error
        for answer in answers:
            if isinstance(answer, BaseException) and is_away(answer):
                # A demoted or loading server: the next command needs a new connection and a look at the generation.
                self.close()
                raise translated(answer)
        return answers

    async def ask_one(self, *arguments: Argument) -> Reply:
        """One command, one reply; raises what an error reply stands for."""
        return checked((await self.ask(pack(*arguments), 1))[0])

    def close(self) -> None:
        """Throws the connection away, without waiting and whatever is in flight."""
        self.alive = False
        writer = self._connection._writer
        if writer is not None:
            writer.transport.abort()

    async def info(self) -> ServerInfo:
        """Asks the server about itself."""
        texts = await self.ask(_INFO, _INFO_REPLIES)
        return ServerInfo.parse("\n".join(cast(bytes, checked(text)).decode() for text in texts))


class Server:
    """One server by its address; opens links and remembers which server was behind the newest one.

    Args:
        url: ``redis://[user:password@]host:port/db``, ``rediss://…`` or ``unix://[user:password@]/path?db=0``.
        deadline_s: for connecting, and for each command.
    """

    def __init__(self, url: str, *, deadline_s: float) -> None:
        self.url = url
        self.deadline_s = deadline_s
        self.generation = ""
        try:
            # Only the parsed arguments are used. RESP2: its replies are flat, the same on every version.
            self._factory = ConnectionPool.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=None,
                socket_connect_timeout=deadline_s,
                driver_info=None,
            )
        except ValueError as error:
            raise ConfigError("redis_url", f"the address of Redis cannot be understood: {error}") from error

    async def connect(self, *, replica: bool = False) -> Link:
        """A new link; which server is behind it is asked before anybody gets it (DESIGN 2, sentence 6).

        Args:
            replica: whether one will do, and its generation does not count.
        """
        connection = cast(AbstractConnection, self._factory.make_connection())  # type: ignore[no-untyped-call]
        link = Link(connection, self.deadline_s)
        try:
            async with asyncio.timeout(self.deadline_s):
                await connection.connect()  # type: ignore[no-untyped-call]
            info = await link.info()
        except BaseException as error:
            link.close()
            raise translated(error) from error
        if info.role == "master":
            self.generation = info.generation
        elif not replica:
            link.close()
            raise BusUnavailable(f"the Redis at {self.safe_url} is a replica and takes no writes")
        return link

    async def check(self) -> ServerInfo:
        """What must hold before a process starts.

        Raises:
            ConfigError: not reachable, too old, or it throws data away when it is full.
        """
        try:
            link = await self.connect()
            info = await link.info()
            link.close()
        except BusUnavailable as error:
            raise ConfigError(
                "redis_unreachable", f"no Redis answers at {self.safe_url}: {error.message}; start it or change the URL"
            ) from error
        if info.version < OLDEST_VERSION:
            found = ".".join(str(part) for part in info.version)
            raise ConfigError("redis_too_old", f"Redis {found} at {self.safe_url} is too old: 6.2 or newer is needed")
        if info.memory_policy != "noeviction":
            raise ConfigError(
                "redis_evicts",
                f"Redis at {self.safe_url} has maxmemory-policy {info.memory_policy} and would throw captions away: "
                "set it to noeviction",
            )
        return info

    @property
    def safe_url(self) -> str:
        """The address without user and password, for messages."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


class Links(Protocol):
    """Links of one purpose, to one server or to a cluster's masters."""

    one_slot: bool
    """Whether all keys of a read must lie in one slot."""

    def borrow(self, key: bytes | str) -> AbstractAsyncContextManager[Link]:
        """A link for one caller alone, to where a key and all others of its slot lie."""
        ...

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Pipelined commands; error replies come as exceptions in the list."""
        ...

    async def info(self) -> ServerInfo:
        """What the server says of itself; of several the fullest, with the oldest version."""
        ...

    async def close(self) -> None:
        """Closes all links; what is in flight fails."""
        ...


class Pool:
    """Links of one purpose. Readers have a pool of their own, so that a link that reads carries nothing else.

    Args:
        server: where links lead.
    """

    one_slot = False

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: list[Link] = []
        self._lent: set[Link] = set()
        self._places = asyncio.Semaphore(MOST_LENT)
        self._closed = False

    @asynccontextmanager
    async def borrow(self, key: bytes | str) -> AsyncIterator[Link]:
        """A link for one caller alone; every key lies there. Whoever has one borrows no other of the pool.

        It comes back only whole: not after an exception, nor with WATCHes left.
        """
        try:
            async with asyncio.timeout(self._server.deadline_s):
                await self._places.acquire()
        except TimeoutError:
            raise BusUnavailable(f"no link to Redis came free in {self._server.deadline_s:g} s") from None
        try:
            async with self._lend() as link:
                yield link
        finally:
            self._places.release()

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[Link]:
        if self._closed:
            raise BusUnavailable("the bus is closed")
        link = self._idle.pop() if self._idle else await self._server.connect()
        self._lent.add(link)
        try:
            yield link
        except BaseException as error:
            if isinstance(error, BusUnavailable) and not link.alive:
                # The others lead to the same server: better none than one that fails the next caller too.
                self._drop_idle()
            link.close()
            raise
        finally:
            self._lent.discard(link)
            wanted = len(self._idle) < KEPT_IDLE or self._places.locked()  # locked: somebody waits for it
            if link.alive and not self._closed and wanted:
                self._idle.append(link)
            elif link.alive:
                link.close()

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Pipelined commands over a link of their own; error replies come as exceptions in the list."""
        if not commands:
            return []
        async with self.borrow("") as link:
            return await link.ask(commands, len(commands))

    async def info(self) -> ServerInfo:
        """What the server says of itself."""
        async with self.borrow("") as link:
            return await link.info()

    async def close(self) -> None:
        """Closes all links; what is in flight fails."""
        self._closed = True
        self._drop_idle()
        for link in self._lent:
            link.close()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
