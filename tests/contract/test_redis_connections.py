"""Connections to Redis: no reply may reach the wrong caller, whatever is cut short (DESIGN 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from tests.contract.worlds import (
    LEASE_S,
    PATIENCE_S,
    START,
    RedisWorld,
    blocked_clients,
    caption,
    once_it_is_back,
    opened,
    opened_log,
    sound,
    stopped,
)

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable
from stenoflow.bus.entry import EntryId
from stenoflow.bus.logs import Appended, LogKey, LogName, Refused
from stenoflow.bus.records import Stages
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.connection import MOST_LENT, Link, pack
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow.bus.redis.errors import Reply


async def test_the_reply_to_a_cancelled_read_reaches_nobody(redis_world: RedisWorld) -> None:
    """redis/redis-py#2665: the reply stayed in the connection and the next caller got it."""
    first, second = [LogKey(track, LogName.AUDIO) for track in await opened(redis_world.bus, 2)]
    logs = redis_world.bus.logs()
    await logs.append([(second, EntryId(160, 1), sound(second, 0, 160))])
    for _ in range(3):
        reading = asyncio.create_task(logs.read({first: START}, block_ms=10_000))
        await blocked_clients(redis_world, 1)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        assert list(await logs.read({second: START}, block_ms=None)) == [second]
        await blocked_clients(redis_world, 0)


async def test_many_that_ask_at_once_share_links(own_server: EmbeddedRedis) -> None:
    """After a failover a gateway reads the ends of all its logs; a proxy before Redis takes only so many links."""
    bus = await RedisBus.connect(own_server.url, SystemClock(), lease_s=LEASE_S)
    (track,) = await opened(bus, 1)
    tails = await asyncio.gather(*(bus.logs().tail(LogKey(track, LogName.AUDIO)) for _ in range(5 * MOST_LENT)))
    assert all(tail is not None and tail.id == START for tail in tails)
    (told,) = await bus._others.ask([pack("INFO", "stats")])
    counted = dict(line.split(":") for line in told.decode().split() if ":" in line)  # type: ignore[attr-defined]
    assert int(counted["total_connections_received"]) < 2 * MOST_LENT
    await bus.close()


async def test_a_cancelled_append_leaves_no_reply_to_the_next(redis_world: RedisWorld) -> None:
    keys = [LogKey(track, LogName.AUDIO) for track in await opened(redis_world.bus, 8)]
    logs = redis_world.bus.logs()
    for n in range(1, 20):
        appending = asyncio.create_task(
            logs.append([(key, EntryId(160 * n, 1), sound(key, 160 * (n - 1), 160 * n)) for key in keys[:7]])
        )
        for _ in range(n % 5 + 1):
            await asyncio.sleep(0)
        appending.cancel()
        (outcome,) = await logs.append([(keys[7], EntryId(n, 1), sound(keys[7], n - 1, n))])
        assert outcome == Appended(EntryId(n, 1))
        await asyncio.wait([appending])


async def test_a_server_that_hangs_is_given_up_and_its_late_reply_reaches_nobody(own_server: EmbeddedRedis) -> None:
    bus = await RedisBus.connect(own_server.url, SystemClock(), lease_s=LEASE_S, deadline_s=0.3)
    first, second = [LogKey(track, LogName.AUDIO) for track in await opened(bus, 2)]
    logs = bus.logs()
    await logs.append([(key, EntryId(160, 1), sound(key, 0, 160)) for key in (first, second)])
    await logs.read({first: START}, block_ms=None)
    with stopped(own_server.pid):
        for attempt in (
            logs.read({first: START}, block_ms=None),
            logs.read({first: START}, block_ms=50),
            logs.append([(first, EntryId(320, 1), sound(first, 160, 320))]),
            bus.claims(Stages.FEATURES, "worker").renew(),
        ):
            with pytest.raises(BusUnavailable):
                await asyncio.wait_for(attempt, PATIENCE_S)
    assert list(await once_it_is_back(lambda: logs.read({second: START}, block_ms=None))) == [second]
    await bus.close()


async def test_readers_have_connections_that_carry_nothing_else(redis_world: RedisWorld) -> None:
    """An append beside a waiting read goes through at once."""
    first, second = [LogKey(track, LogName.AUDIO) for track in await opened(redis_world.bus, 2)]
    logs = redis_world.bus.logs()
    reading = asyncio.create_task(logs.read({first: START}, block_ms=10_000))
    await blocked_clients(redis_world, 1)
    (outcome,) = await asyncio.wait_for(logs.append([(second, EntryId(1, 1), sound(second, 0, 1))]), PATIENCE_S)
    assert isinstance(outcome, Appended) and not reading.done()
    await logs.append([(first, EntryId(1, 1), sound(first, 0, 1))])
    assert list(await asyncio.wait_for(reading, PATIENCE_S)) == [first]
    last = {each["cmd"].partition("|")[0] for each in redis_world.raw.client.client_list()}
    assert "xread" in last


async def test_an_entry_of_another_track_is_shown_to_nobody(redis_world: RedisWorld) -> None:
    """Should one ever stand in a log, the header gives it away (DESIGN 3)."""
    first, second = [LogKey(track, LogName.AUDIO) for track in await opened(redis_world.bus, 2)]
    logs = redis_world.bus.logs()
    await logs.append([(first, EntryId(160, 1), sound(second, 0, 160))])
    with pytest.raises(AssertionError, match="stands in a log of"):
        await logs.read({first: START}, block_ms=None)


async def test_what_reads_never_carried_anything_else(redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    carried: dict[int, set[str]] = {}
    links: list[Link] = []
    ask = Link.ask

    async def noting(link: Link, packed: bytes | Iterable[bytes], replies: int, *, wait_s: float = 0.0) -> list[Reply]:
        links.append(link)  # keeps it, so that ids stay unique
        commands = [packed] if isinstance(packed, bytes) else list(packed)
        carried.setdefault(id(link), set()).update(each.split(b"\r\n")[2].decode() for each in commands)
        return await ask(link, commands, replies, wait_s=wait_s)

    monkeypatch.setattr(Link, "ask", noting)
    key = await opened_log(redis_world.bus)
    logs, records = redis_world.bus.logs(), redis_world.bus.records()
    for n in range(1, 5):
        await logs.append([(key, EntryId(n, 1), sound(key, n - 1, n))])
        await logs.read({key: EntryId(n - 1, 1)}, block_ms=10 if n % 2 else None)
        await logs.tail(key)
        await logs.trim({key: n - 1})
        await redis_world.bus.claims(Stages.FEATURES, "worker").renew()
        await records.get(key.track.session)
    readers = [commands for commands in carried.values() if "XREAD" in commands]
    assert readers and all(commands <= {"XREAD", "INFO"} for commands in readers)


async def test_closing_the_bus_ends_a_waiting_read(redis_world: RedisWorld) -> None:
    bus = await redis_world.another_bus()
    key = await opened_log(bus)
    reading = asyncio.create_task(bus.logs().read({key: START}, block_ms=30_000))
    await blocked_clients(redis_world, 1)
    await bus.close()
    with pytest.raises(BusUnavailable):
        await asyncio.wait_for(reading, PATIENCE_S)
    with pytest.raises(BusUnavailable, match="closed"):
        await bus.logs().tail(key)


async def test_finals_that_meet_another_writer_between_look_and_write_are_refused_and_their_neighbours_go_in(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writes at the worst moment; WATCH sees it, and the rest of the step is tried log by log."""
    keys = [LogKey(track, LogName.FINALS) for track in await opened(redis_world.bus, 3)]
    other = await redis_world.another_bus()
    ask = Link.ask
    interposed = False

    async def interposing(
        link: Link, packed: bytes | Iterable[bytes], replies: int, *, wait_s: float = 0.0
    ) -> list[Reply]:
        nonlocal interposed
        commands = [packed] if isinstance(packed, bytes) else list(packed)
        if b"MULTI" in commands[0] and not interposed:
            interposed = True
            (outcome,) = await other.logs().append([(keys[1], EntryId(50, 1), caption(keys[1], 0, 50, "first"))])
            assert isinstance(outcome, Appended)
        return await ask(link, commands, replies, wait_s=wait_s)

    monkeypatch.setattr(Link, "ask", interposing)
    step = [(key, START, [(EntryId(100, 1), caption(key, 0, 100, "second"))]) for key in keys]
    outcomes = await redis_world.bus.logs().append_finals(step)
    assert interposed
    assert [type(outcome) for outcome in outcomes] == [Appended, Refused, Appended]
    (found,) = await redis_world.bus.logs().entries(keys[1])
    assert found[1].data == b"first"
    await other.close()
