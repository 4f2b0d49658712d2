"""What a contract test needs beyond the ports: time that passes, a server that fills up, and entries to write."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from redis.cluster import RedisCluster
from tests.servers import Raw

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import TrackKey, new_epoch, new_session_id
from stenoflow.bus.entry import Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import SessionRecord, SessionState, TrackInfo
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.keys import log_key

LEASE_S = 0.3
"""Short, for real servers count real time; long enough that a slow machine does not lose one by accident."""

PATIENCE_S = 5.0
"""After so long what is waited for does not come."""

Result = TypeVar("Result")


class FakeClock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self.now * 1000)


async def until(look: Callable[[], Awaitable[Result]], pause: Callable[[], Awaitable[None]]) -> Result:
    """The first thing worth having that ``look`` gives, within :data:`PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = await look()
        if found:
            return found
        await pause()
    raise AssertionError(f"{look} gave nothing within {PATIENCE_S} s")


class World(Protocol):
    """One bus and its surroundings."""

    @property
    def bus(self) -> MemoryBus | RedisBus:
        """The bus under test."""
        ...

    async def tick(self) -> None:
        """A tenth of a lease passes."""
        ...

    def leave_room_for_half(self, keys: Sequence[LogKey], size: int) -> None:
        """The server will be full in the middle of appends of ``size`` bytes each to ``keys``."""
        ...

    def lose(self, key: LogKey) -> None:
        """One log is gone."""
        ...

    def make_room(self) -> None:
        """The server takes writes again."""
        ...


@dataclass
class MemoryWorld:
    bus: MemoryBus
    clock: FakeClock

    async def tick(self) -> None:
        self.clock.now += LEASE_S / 10

    def leave_room_for_half(self, keys: Sequence[LogKey], size: int) -> None:
        self.bus.faults.full_logs = set(keys[len(keys) // 2 :])

    def lose(self, key: LogKey) -> None:
        self.bus.lose(key)

    def make_room(self) -> None:
        self.bus.faults.full_logs = set()


@dataclass
class RedisWorld:
    bus: RedisBus
    url: str
    raw: Raw

    async def tick(self) -> None:
        await asyncio.sleep(LEASE_S / 10)

    def leave_room_for_half(self, keys: Sequence[LogKey], size: int) -> None:
        self.raw.leave_room(len(keys) * size // 2)

    def lose(self, key: LogKey) -> None:
        self.raw.client.delete(log_key(key))

    def make_room(self) -> None:
        self.raw.client.config_set("maxmemory", "512mb")

    async def another_bus(self, **options: float) -> RedisBus:
        return await RedisBus.connect(self.url, SystemClock(), lease_s=LEASE_S, **options)  # type: ignore[arg-type]


@dataclass
class ClusterWorld:
    """Sessions are spread over as many shards as it takes to meet every master."""

    bus: RedisBus
    nodes: list[Raw]
    client: RedisCluster

    async def tick(self) -> None:
        await asyncio.sleep(LEASE_S / 10)

    def leave_room_for_half(self, keys: Sequence[LogKey], size: int) -> None:
        for raw in self.nodes:
            raw.leave_room(len(keys) * size // 2)

    def lose(self, key: LogKey) -> None:
        self.client.delete(log_key(key))

    def make_room(self) -> None:
        for raw in self.nodes:
            raw.client.config_set("maxmemory", "512mb")


def session(tracks: int = 1, base: int = 0, shard: int = 0) -> SessionRecord:
    """A fresh session's record."""
    infos = tuple(TrackInfo(f"track {number}", "pcm_s16le", 16_000, base) for number in range(tracks))
    return SessionRecord(
        new_session_id(shard), new_epoch(1), 1, SessionState.OPEN, "hash", "live", "en-small", infos, {"chunk_ms": 160}
    )


async def opened(bus: MemoryBus | RedisBus, tracks: int = 1, base: int = 0) -> tuple[TrackKey, ...]:
    """The tracks of a session that was just opened."""
    record = session(tracks, base)
    assert await bus.records().open(record, opening_entries(record)) is not None
    return record.track_keys()


async def opened_log(bus: MemoryBus | RedisBus, name: LogName = LogName.AUDIO) -> LogKey:
    """A log of a session that was just opened."""
    return LogKey((await opened(bus))[0], name)


def sound(key: LogKey, begin: int, end: int, marks: Sequence[Mark] = (), marks_before: int = 0) -> Entry:
    """An entry whose samples say where they belong: sample i is i modulo 65,536."""
    data = b"".join((position % 65_536).to_bytes(2, "little") for position in range(begin, end))
    spans = (Span(begin, end),) if end > begin else ()
    return Entry(key.track, Kind.AUDIO, begin, end, spans, 1, 2, data, tuple(marks), marks_before, restart=begin)


def caption(key: LogKey, begin: int, end: int, text: str = "hello", marks: Sequence[Mark] = ()) -> Entry:
    """A final."""
    return Entry(key.track, Kind.FINAL, begin, end, data=text.encode(), marks=tuple(marks))


def mark(kind: MarkKind, at: int, number: int = 0) -> Mark:
    """A client's mark."""
    return Mark(kind, at, "client", number)


START = EntryId(0, 1)
"""The id of an opening entry."""


async def blocked_clients(world: RedisWorld, count: int) -> None:
    """Waits until the server has so many blocked readers."""
    deadline = time.monotonic() + PATIENCE_S
    while int(world.raw.client.info("clients")["blocked_clients"]) != count:
        assert time.monotonic() < deadline, f"never {count} blocked clients"
        await asyncio.sleep(0.005)


async def once_it_is_back(do: Callable[[], Awaitable[Result]]) -> Result:
    """The first result after a restart."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await do()
        except BusUnavailable:
            assert time.monotonic() < deadline, "the bus does not come back"
            await asyncio.sleep(0.01)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A server that answers nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
