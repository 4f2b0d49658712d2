"""Restarts, limits and wrong servers under the Redis adapters: nothing may be created by accident (DESIGN 8)."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis
from tests import servers
from tests.contract.worlds import (
    LEASE_S,
    PATIENCE_S,
    START,
    RedisWorld,
    caption,
    mark,
    once_it_is_back,
    opened,
    opened_log,
    session,
    sound,
)

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable, ConfigError
from stenoflow.bus.entry import END_ID, EntryId, MarkKind
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, LogName
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import Stages
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.embedded import EmbeddedRedis


async def test_a_restart_with_data_changes_the_generation_and_keeps_the_logs(own_server: EmbeddedRedis) -> None:
    bus = await RedisBus.connect(own_server.url, SystemClock(), lease_s=LEASE_S)
    key = await opened_log(bus)
    logs, claims = bus.logs(), bus.claims(Stages.FEATURES, "worker")
    (claim,) = await claims.take(1)
    await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))])
    before = logs.generation()
    own_server.kill()
    with pytest.raises(BusUnavailable):
        await logs.append([(key, EntryId(320, 1), sound(key, 160, 320))])
    own_server.start()
    tail = await once_it_is_back(lambda: logs.tail(key))
    assert tail is not None and tail.id == EntryId(160, 1)
    assert logs.generation() != before
    assert [each.id for each in await claims.renew()] == [claim.id]
    await bus.close()


async def test_a_restart_during_a_waiting_read_ends_it_with_an_error(own_server: EmbeddedRedis) -> None:
    """redis/redis-py#2937: a blocked read must neither hang nor pretend that there was no news."""
    bus = await RedisBus.connect(own_server.url, SystemClock())
    key = await opened_log(bus)
    reading = asyncio.create_task(bus.logs().read({key: START}, block_ms=30_000))
    await asyncio.sleep(0.05)
    own_server.kill()
    with pytest.raises(BusUnavailable):
        await asyncio.wait_for(reading, PATIENCE_S)
    await bus.close()


async def test_after_an_empty_restart_logs_are_gone_and_nothing_is_held(own_server: EmbeddedRedis) -> None:
    bus = await RedisBus.connect(own_server.url, SystemClock(), lease_s=LEASE_S)
    logs, records, claims = bus.logs(), bus.records(), bus.claims(Stages.FEATURES, "worker")
    record = session()
    await records.open(record, opening_entries(record))
    (track,) = record.track_keys()
    key, finals = LogKey(track, LogName.AUDIO), LogKey(track, LogName.FINALS)
    taken = await claims.take(1)
    before = logs.generation()
    redis.Redis.from_url(own_server.url).flushall()
    own_server.kill()
    own_server.start()
    assert await once_it_is_back(lambda: logs.append([(key, EntryId(160, 1), sound(key, 0, 160))])) == [Gone()]
    assert logs.generation() != before
    assert await logs.append_finals([(finals, START, [(EntryId(1, 1), caption(finals, 0, 1))])]) == [Gone()]
    for nothing in (claims.take(1), claims.renew(), claims.take_over(1)):
        assert await nothing == []
    await claims.hand_over(taken)
    await claims.done(taken)
    await records.touch([record.id], 1)
    await logs.trim({key: 0})
    assert await records.get(record.id) is None
    assert redis.Redis.from_url(own_server.url).dbsize() == 0, "something was created again"
    assert await records.open(record, opening_entries(record)) is not None
    assert len(await claims.take(1)) == 1, "the group is there again"
    await bus.close()


async def test_a_stopped_worker_wakes_up_with_nothing_of_its_own_and_harms_nothing(redis_world: RedisWorld) -> None:
    """Its late append is refused; after the other's end nothing of it passes."""
    key = await opened_log(redis_world.bus, LogName.FEATURES)
    sleeper, taker = (redis_world.bus.claims(Stages.FEATURES, name) for name in ("sleeper", "taker"))
    other = await redis_world.another_bus()
    await sleeper.take(1)
    deadline = time.monotonic() + PATIENCE_S
    while not await taker.take_over(1):
        assert time.monotonic() < deadline
        await redis_world.tick()
    await redis_world.bus.logs().append([(key, END_ID, sound(key, 0, 320, [mark(MarkKind.END, 320)]))])
    assert await sleeper.renew() == []
    (outcome,) = await other.logs().append([(key, EntryId(160, 1), sound(key, 0, 160))])
    assert not isinstance(outcome, Appended)
    assert len(await taker.renew()) == 1
    await other.close()


async def test_a_full_server_refuses_finals_whole_and_openings_altogether(redis_world: RedisWorld) -> None:
    records, logs = redis_world.bus.records(), redis_world.bus.logs()
    keys = [LogKey(track, LogName.FINALS) for track in await opened(redis_world.bus, 2)]
    claims = redis_world.bus.claims(Stages.FEATURES, "worker")
    held = await claims.take(2)
    redis_world.raw.leave_room(-100_000)
    step = [(key, START, [(EntryId(1, 1), caption(key, 0, 1)), (EntryId(2, 1), caption(key, 1, 2))]) for key in keys]
    assert {type(outcome) for outcome in await logs.append_finals(step)} == {Full}
    record = session()
    for refused in (records.open(record, opening_entries(record)), records.touch([record.id], 1)):
        with pytest.raises(BusUnavailable) as caught:
            await refused
        assert caught.value.code == "bus_full"
    assert await records.memory_fraction() > 0.99
    # What makes room, and what keeps leases, must pass all the same.
    assert len(await claims.renew()) == 2
    await logs.trim(dict.fromkeys(keys, 0))
    await claims.done(held[:1])
    await claims.hand_over(held[1:])
    redis_world.make_room()
    assert await records.get(record.id) is None
    assert {type(outcome) for outcome in await logs.append_finals(step)} == {Appended}


async def test_a_server_that_evicts_is_refused(redis_world: RedisWorld) -> None:
    redis_world.raw.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError, match="noeviction") as caught:
            await redis_world.another_bus()
        assert caught.value.code == "redis_evicts"
    finally:
        redis_world.raw.client.config_set("maxmemory-policy", "noeviction")


async def test_a_server_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="start it or change the URL") as caught:
        await RedisBus.connect("redis://somebody:secret@127.0.0.1:1/0", SystemClock(), deadline_s=1)
    assert caught.value.code == "redis_unreachable"
    assert "secret" not in str(caught.value)


async def test_an_address_that_makes_no_sense_is_a_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        await RedisBus.connect("postgres://127.0.0.1", SystemClock())
    assert caught.value.code == "redis_url"


async def test_a_server_that_is_too_old_is_refused() -> None:
    """A scripted one: nobody has a Redis 5 any more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = "redis_version:6.0.16\r\nrun_id:a\r\nmaster_replid:b\r\nrole:master\r\nused_memory:1\r\nmaxmemory:0\r\n"
        while line := await reader.readline():
            if line.strip().upper() == b"INFO":
                writer.write(f"${len(info)}\r\n{info}\r\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConfigError, match=r"6\.0\.16") as caught:
            await RedisBus.connect(f"redis://127.0.0.1:{port}/0", SystemClock(), deadline_s=2)
    assert caught.value.code == "redis_too_old"


async def test_a_wrong_password_is_a_sentence_and_a_right_one_works(redis_world: RedisWorld) -> None:
    redis_world.raw.client.acl_setuser(
        "steno", enabled=True, passwords=["+right"], keys=["*"], channels=[], commands=["+@all"]
    )
    try:
        if not redis_world.url.startswith("unix://"):
            pytest.skip("the address of a container is built otherwise")
        with pytest.raises(ConfigError) as caught:
            await RedisBus.connect(redis_world.url.replace("unix://", "unix://steno:wrong@"), SystemClock())
        assert caught.value.code == "redis_denied"
        bus = await RedisBus.connect(redis_world.url.replace("unix://", "unix://steno:right@"), SystemClock())
        assert await bus.records().server_version() >= (6, 2)
        await bus.close()
    finally:
        redis_world.raw.client.acl_deluser("steno")


async def test_a_replica_takes_no_writes_and_a_promotion_changes_the_generation() -> None:
    binary = servers.binary_of("redis-newest")
    with EmbeddedRedis(binary) as server:
        bus = await RedisBus.connect(server.url, SystemClock(), deadline_s=1)
        key = await opened_log(bus)
        logs = bus.logs()
        before = logs.generation()
        client = redis.Redis.from_url(server.url)
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(BusUnavailable):
            await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))])
        with pytest.raises(BusUnavailable, match="replica"):
            await logs.tail(key)
        client.replicaof("NO", "ONE")
        assert await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))]) == [Appended(EntryId(160, 1))]
        assert logs.generation() != before
        client.close()
        await bus.close()
