"""What only a cluster can do wrong: keys on several masters, slots that move, a master that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis
from redis.crc import key_slot
from tests import servers
from tests.contract.conftest import CLUSTER_SHARDS
from tests.contract.worlds import LEASE_S, START, ClusterWorld, caption, once_it_is_back, session, sound

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable, ConfigError
from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import EntryId
from stenoflow.bus.logs import Appended, LogKey, LogName, Refused
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import Stages
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.cluster import key_of
from stenoflow.bus.redis.connection import pack
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow.bus.redis.keys import log_key


async def open_in(bus: RedisBus, shard: int) -> TrackKey:
    record = session(shard=shard)
    assert await bus.records().open(record, opening_entries(record)) is not None
    return record.track_keys()[0]


async def open_everywhere(bus: RedisBus) -> list[TrackKey]:
    return [await open_in(bus, shard) for shard in range(CLUSTER_SHARDS)]


def sounds(tracks: list[TrackKey], begin: int, end: int) -> list[tuple[LogKey, EntryId, object]]:
    keys = [LogKey(track, LogName.AUDIO) for track in tracks]
    return [(key, EntryId(end, 1), sound(key, begin, end)) for key in keys]


async def test_one_call_goes_to_every_master_it_is_about(cluster_world: ClusterWorld) -> None:
    bus = cluster_world.bus
    tracks = await open_everywhere(bus)
    assert all(raw.keys() for raw in cluster_world.nodes), "shards on every master"
    outcomes = await bus.logs().append(sounds(tracks, 0, 160))  # type: ignore[arg-type]
    assert outcomes == [Appended(EntryId(160, 1))] * CLUSTER_SHARDS
    keys = [LogKey(track, LogName.AUDIO) for track in tracks]
    news = await bus.logs().read(dict.fromkeys(keys, START), block_ms=None)
    assert {key: [entry_id for entry_id, _ in entries] for key, entries in news.items()} == {
        key: [EntryId(160, 1)] for key in keys
    }
    finals = [LogKey(track, LogName.FINALS) for track in tracks]
    said = [(key, START, [(EntryId(160, 1), caption(key, 0, 160))]) for key in finals]
    assert await bus.logs().append_finals(said) == [Appended(EntryId(160, 1))] * CLUSTER_SHARDS
    await bus.logs().append(sounds(tracks, 160, 320))  # type: ignore[arg-type]
    await bus.logs().trim(dict.fromkeys(keys, 320))
    assert {len(await bus.logs().entries(key)) for key in keys} == {1}
    claims = bus.claims(Stages.FEATURES, "one")
    taken = await claims.take(100)
    assert {claim.track for claim in taken} == set(tracks) == {claim.track for claim in await claims.renew()}
    assert await claims.open_tracks() == CLUSTER_SHARDS


async def test_a_read_that_waits_hears_of_what_comes_to_any_master(cluster_world: ClusterWorld) -> None:
    bus = cluster_world.bus
    tracks = await open_everywhere(bus)
    after = {LogKey(track, LogName.AUDIO): START for track in tracks}
    for track in tracks:
        waiting = asyncio.create_task(bus.logs().read(after, block_ms=20_000))
        await bus.logs().append(sounds([track], 0, 160))  # type: ignore[arg-type]
        news = await asyncio.wait_for(waiting, 10)
        assert list(news) == [LogKey(track, LogName.AUDIO)]
        after[LogKey(track, LogName.AUDIO)] = EntryId(160, 1)
    assert await bus.logs().read(after, block_ms=1) == {}


@contextmanager
def moved(world: ClusterWorld, slot: int) -> Iterator[None]:
    """A slot without keys lies on the next master meanwhile."""
    ids = [raw.client.execute_command("CLUSTER", "MYID") for raw in world.nodes]
    home = slot * servers.MASTERS // servers.SLOTS
    try:
        for raw in world.nodes:
            raw.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[(home + 1) % servers.MASTERS])
        yield
    finally:
        for raw in world.nodes:
            raw.flush()
        for raw in world.nodes:
            raw.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[home])


async def test_a_slot_that_moved_is_found_again(cluster_world: ClusterWorld) -> None:
    bus = cluster_world.bus
    record = session(shard=3)
    slot = key_slot(log_key(LogKey(record.track_keys()[0], LogName.AUDIO)).encode())
    with moved(cluster_world, slot):
        with pytest.raises(BusUnavailable):
            await bus.records().open(record, opening_entries(record))
        assert await bus.records().open(record, opening_entries(record)) is not None
        assert await bus.records().get(record.id) == record


async def test_a_master_that_is_gone_takes_its_shards_with_it_and_no_others() -> None:
    with servers.cluster("redis-newest") as hosts:
        bus = await RedisBus.connect(
            f"redis+cluster://{','.join(hosts)}", SystemClock(), shards=CLUSTER_SHARDS, lease_s=LEASE_S
        )
        tracks, before = await open_everywhere(bus), bus.logs().generation()
        assert all(host in before for host in hosts), "the generation is that of all masters"
        homes = [key_slot(log_key(LogKey(track, LogName.AUDIO)).encode()) * 3 // servers.SLOTS for track in tracks]
        with suppress(redis.ConnectionError):
            servers.Raw(f"redis://{hosts[homes[0]]}").client.shutdown(nosave=True)
        for track, home in zip(tracks, homes, strict=True):
            if home == homes[0]:
                with pytest.raises(BusUnavailable):
                    await bus.logs().append(sounds([track], 0, 160))  # type: ignore[arg-type]
            else:
                assert await bus.logs().append(sounds([track], 0, 160)) == [Appended(EntryId(160, 1))]  # type: ignore[arg-type]
        await bus.close()


async def test_a_replica_that_took_over_is_found_and_is_another_generation() -> None:
    with servers.cluster("redis-newest", replica=True) as (first, *others, replica):
        url = f"redis+cluster://{first},{others[0]}"
        bus = await RedisBus.connect(url, SystemClock(), shards=CLUSTER_SHARDS, lease_s=LEASE_S)
        tracks, before = await open_everywhere(bus), bus.logs().generation()
        assert await bus.logs().append(sounds(tracks, 0, 160)) == [Appended(EntryId(160, 1))] * CLUSTER_SHARDS  # type: ignore[arg-type]
        following = servers.Raw(f"redis://{replica}").client
        servers.Raw(f"redis://{first}").client.wait(1, 5000)
        with suppress(redis.ConnectionError):
            servers.Raw(f"redis://{first}").client.shutdown(nosave=True)
        following.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        outcomes = await once_it_is_back(lambda: bus.logs().append(sounds(tracks, 160, 320)))  # type: ignore[arg-type]
        # Those of masters that stayed may have been written by a try that failed as a whole.
        assert all(isinstance(outcome, Appended | Refused) for outcome in outcomes)
        for track in tracks:
            ends = [entry.end for _, entry in await bus.logs().entries(LogKey(track, LogName.AUDIO))]
            assert ends == [160, 320]
        assert bus.logs().generation() != before and replica in bus.logs().generation()
        await bus.close()


async def test_a_server_that_is_no_cluster_is_refused() -> None:
    port = servers.free_port()
    url = f"redis+cluster://127.0.0.1:{port}"
    with (
        EmbeddedRedis(arguments=("--port", str(port))),
        pytest.raises(ConfigError, match="is no cluster: write redis://") as caught,
    ):
        await RedisBus.connect(url, SystemClock())
    assert caught.value.code == "redis_no_cluster"
    with pytest.raises(ConfigError) as caught:
        await RedisBus.connect(url, SystemClock())
    assert caught.value.code == "redis_unreachable"


def test_the_key_of_a_command() -> None:
    assert key_of(pack(b"XADD", "sf:{s00}:a", b"*", b"h", b"\r\nSTREAMS\r\n$1\r\nx\r\n")) == b"sf:{s00}:a"
    assert key_of(pack(b"XLEN", "sf:{s01}:claims")) == b"sf:{s01}:claims"
    group = pack(b"XREADGROUP", b"GROUP", b"workers", b"one", b"COUNT", 3, b"STREAMS", "sf:{s02}:claims", b">")
    assert key_of(group) == b"sf:{s02}:claims"
