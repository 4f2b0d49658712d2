"""The keys in Redis: their time to live, shards, and claims that are deleted under their holder."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace
from tests.contract.worlds import (
    LEASE_S,
    RedisWorld,
    opened,
    session,
)

from stenoflow.base.clock import SystemClock
from stenoflow.base.ids import shard_of
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import TTL_S, SessionState, StageProgress, Stages
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.keys import claims_key, kept_key, log_key, progress_key, record_key, sessions_key


@dataclass
class Jumping:
    """A clock for the adapter's own minutes; the server's time goes on as it does."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return int(self.now * 1000)


async def test_every_key_has_a_time_to_live_that_signs_of_life_renew(redis_world: RedisWorld) -> None:
    clock = Jumping()
    bus = await RedisBus.connect(redis_world.url, clock)
    record = session(2)
    records, raw = bus.records(), redis_world.raw
    await records.open(record, opening_entries(record))
    await records.note_progress(Stages.DECODER, {record.track_keys()[0]: StageProgress(1, 1, 1)})
    keys = raw.keys()
    shard = shard_of(record.id)
    assert {record_key(record.id), sessions_key(shard), claims_key(shard, Stages.DECODER, record.bundle)} <= set(keys)
    assert all(key.startswith("sf:{s00}:") for key in keys), "one slot a shard"
    assert all(0 < raw.ttl(key) <= TTL_S for key in keys)
    for key in keys:
        raw.client.expire(key, 100)
    await records.touch([record.id], 1)
    assert all(raw.ttl(key) > 100 for key in keys)
    for key in keys:
        raw.client.expire(key, 100)
    await records.touch([record.id], 2)
    assert all(raw.ttl(key) <= 100 for key in keys), "once a minute is enough"
    clock.now += 60
    await records.touch([record.id], 3)
    assert all(raw.ttl(key) > 100 for key in keys)
    await bus.close()


async def test_what_is_kept_of_an_ended_session_is_kept_as_long_as_it_asked(redis_world: RedisWorld) -> None:
    records, raw = redis_world.bus.records(), redis_world.raw
    for retention_s in (60, 86_400):
        record = replace(session(), retention_s=retention_s)
        await records.open(record, opening_entries(record))
        await records.finish(record, SessionState.ENDED)
        finals = log_key(LogKey(record.track_keys()[0], LogName.FINALS))
        for key in (record_key(record.id), finals):
            assert retention_s - 5 < raw.ttl(key) <= retention_s
    assert raw.ttl(kept_key("{s00}")) > 86_400, "the list outlives what is on it"


async def test_progress_noted_after_the_end_vanishes_by_itself(redis_world: RedisWorld) -> None:
    record = session()
    records = redis_world.bus.records()
    await records.open(record, opening_entries(record))
    await records.finish(record, SessionState.ENDED)
    (track,) = record.track_keys()
    await records.note_progress(Stages.DECODER, {track: StageProgress(1, 1, 1)})
    assert 0 < redis_world.raw.ttl(progress_key(track)) <= TTL_S
    assert not redis_world.raw.exists(log_key(LogKey(track, LogName.AUDIO)))


async def test_claims_cover_all_shards_and_admission_counts_them_all(redis_world: RedisWorld) -> None:
    bus = await RedisBus.connect(redis_world.url, SystemClock(), shards=3, lease_s=LEASE_S)
    records = bus.records()
    seen = []
    for shard in range(3):
        record = session(2, shard=shard)
        found = await records.open(record, opening_entries(record))
        assert found is not None
        seen.append(found.open_tracks[Stages.FEATURES])
    assert seen == [2, 4, 6]
    worker, other = bus.claims(Stages.FEATURES, "worker"), bus.claims(Stages.FEATURES, "other")
    taken = [*await worker.take(4), *await worker.take(4)]
    assert len(taken) == 6 and len({claim.track.session for claim in taken}) == 3
    assert len(await worker.renew()) == 6
    await worker.hand_over(taken)
    assert len(await other.take_over(5)) == 5
    assert await other.open_tracks() == 6
    await other.done(await other.renew())
    assert await worker.open_tracks() == 1
    assert len(await records.abandoned(2**50)) == 3
    await bus.close()


async def test_claims_deleted_under_their_holder_are_lost_and_forgotten(redis_world: RedisWorld) -> None:
    """Pending ids without an entry (redis/redis#10198): 6.2 answers nil, 7.0 names them apart."""
    await opened(redis_world.bus, 8)
    holder, taker = (redis_world.bus.claims(Stages.FEATURES, name) for name in ("holder", "taker"))
    taken = await holder.take(8)
    stream = claims_key("{s00}", Stages.FEATURES, "")
    redis_world.raw.client.xdel(stream, taken[0].id, taken[1].id)
    assert [claim.id for claim in await holder.renew()] == [claim.id for claim in taken[2:]]
    assert redis_world.raw.pending(stream) == 6
    await holder.hand_over(taken[2:])
    redis_world.raw.client.xdel(stream, taken[2].id, taken[7].id)
    found: list[str] = []
    for _ in range(4):
        found += [claim.id for claim in await taker.take_over(8)]
    assert found == [claim.id for claim in taken[3:7]]
    assert redis_world.raw.pending(stream) == 4
    await taker.done(taken[3:7])
    assert redis_world.raw.pending(stream) == 0
