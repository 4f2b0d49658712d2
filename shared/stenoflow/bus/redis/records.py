"""Session records, progress and the worker registry in Redis (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from msgspec.structs import replace

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import Epoch, SessionId, TrackKey, shard_of
from stenoflow.bus.entry import Entry
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.records import (
    LONGEST_RETENTION_S,
    TTL_S,
    WORKER_SILENT_MS,
    Opened,
    SessionRecord,
    SessionState,
    StageProgress,
    Stages,
    WorkerStatus,
)
from stenoflow.bus.redis.connection import Link, Links, pack
from stenoflow.bus.redis.errors import Reply, checked
from stenoflow.bus.redis.keys import (
    claims_key,
    finals_keys,
    kept_key,
    log_key,
    progress_key,
    record_key,
    sessions_key,
    worker_key,
    workers_key,
)
from stenoflow.bus.redis.opening import OldEpoch, Opening, find_old_epoch
from stenoflow.bus.redis.transaction import transact

RENEW_TTL_S = 60.0
"""TTLs are renewed so often at most: a tenth of what they give (sentence 6)."""

ATTEMPTS = 8
"""Tries of an optimistic change before giving up: two gateways fight over one session at most."""

WORKER_TTL_S = 60
"""A worker's hash outlives its last announcement by so much; the registry's score hides it much sooner."""

KEPT_TTL_S = LONGEST_RETENTION_S + 86_400
"""The list of ended sessions outlives whatever is on it."""

_encode = msgspec.json.encode
_decode_record = msgspec.json.Decoder(SessionRecord).decode
_decode_epochs = msgspec.json.Decoder(list[Epoch]).decode
_decode_progress = msgspec.json.Decoder(StageProgress).decode
_decode_worker = msgspec.json.Decoder(WorkerStatus).decode


class RedisRecords:
    """The port :class:`stenoflow.bus.records.Records`.

    Args:
        pool: links that no reader uses.
        shards: hash tags of all shards.
        clock: for signs of life at opening, and for how often TTLs are renewed.
    """

    def __init__(self, pool: Links, shards: Sequence[str], clock: Clock) -> None:
        self._pool = pool
        self._shards = shards
        self._clock = clock
        self._ttl_renewed_at: dict[SessionId, float] = {}

    async def open(self, record: SessionRecord, openings: Mapping[LogName, Sequence[Entry]]) -> Opened | None:
        """See the port."""
        key = record_key(record.id)
        async with self._pool.borrow(key) as link:
            await link.ask_one(b"WATCH", key)
            old, epochs = await _load(link, key)
            superseded: OldEpoch | None = None
            if old is not None:
                if old.connection > record.connection or old.epoch == record.epoch:
                    await link.ask_one(b"UNWATCH")
                    return None
                superseded = await find_old_epoch(link, old)
            opening = Opening(record, openings, superseded)
            results = await transact(link, opening.commands([*epochs, record.epoch], self._clock.wall_ms()))
        if results is None:
            return None
        counts = opening.counts(results)
        for shard in self._shards:
            if shard != shard_of(record.id):  # another slot cannot share the transaction
                keys = [claims_key(shard, stage, opening.bundle(stage)) for stage in record.stages]
                replies = await self._pool.ask([pack(b"XLEN", claims) for claims in keys])
                for stage, reply in zip(record.stages, replies, strict=True):
                    counts[stage] += cast(int, checked(reply))
        return Opened(counts)

    async def get(self, session: SessionId) -> SessionRecord | None:
        """See the port."""
        return (await self.get_many([session]))[0]

    async def get_many(self, sessions: Sequence[SessionId]) -> Sequence[SessionRecord | None]:
        """See the port."""
        replies = await self._pool.ask([pack(b"HGET", record_key(session), b"record") for session in sessions])
        return [_record(checked(reply)) for reply in replies]

    async def connect(self, session: SessionId, token_hash: str) -> SessionRecord | None:
        """See the port."""
        key = record_key(session)
        async with self._pool.borrow(key) as link:
            for _ in range(ATTEMPTS):
                await link.ask_one(b"WATCH", key)
                record, _ = await _load(link, key)
                if record is None or record.token_hash != token_hash:
                    await link.ask_one(b"UNWATCH")
                    return None
                record = replace(record, connection=record.connection + 1)
                sign = pack(b"ZADD", sessions_key(shard_of(session)), b"XX", self._clock.wall_ms(), session)
                if await transact(link, [pack(b"HSET", key, b"record", _encode(record)), sign]) is not None:
                    return record
        raise BusUnavailable(f"the record of {session} changes too fast to be changed", code="bus_contended")

    async def finish(self, record: SessionRecord, state: SessionState, error: tuple[str, str] | None = None) -> bool:
        """See the port."""
        key = record_key(record.id)
        async with self._pool.borrow(key) as link:
            for _ in range(ATTEMPTS):
                await link.ask_one(b"WATCH", key)
                present, epochs = await _load(link, key)
                if present is None or present.epoch != record.epoch or present.state is SessionState.ENDED:
                    await link.ask_one(b"UNWATCH")
                    return False
                after = replace(present, state=state, error=error)
                commands = [pack(b"HSET", key, b"record", _encode(after))]
                if state is SessionState.ENDED:
                    gone = [
                        log_key(LogKey(track, name))
                        for track in present.track_keys()
                        for name in LogName
                        if name is not LogName.FINALS
                    ]
                    gone += [progress_key(track) for track in present.track_keys()]
                    commands += [
                        pack(b"UNLINK", *gone),
                        pack(b"ZREM", sessions_key(shard_of(record.id)), record.id),
                        *(self._deletion(after, epochs) if after.deleted else self._keeping(after, epochs)),
                    ]
                if await transact(link, commands) is not None:
                    self._ttl_renewed_at.pop(record.id, None)
                    return True
        raise BusUnavailable(f"the record of {record.id} changes too fast to be changed", code="bus_contended")

    async def sessions(self) -> Sequence[SessionId]:
        """See the port."""
        now_ms = self._clock.wall_ms()
        looks = [pack(b"ZRANGEBYSCORE", sessions_key(shard), b"-inf", b"+inf") for shard in self._shards]
        looks += [pack(b"ZRANGEBYSCORE", kept_key(shard), now_ms, b"+inf") for shard in self._shards]
        return [
            SessionId(raw.decode())
            for reply in await self._pool.ask(looks)
            for raw in cast(list[bytes], checked(reply))
        ]

    async def epochs(self, session: SessionId) -> Sequence[Epoch]:
        """See the port."""
        replies = await self._pool.ask([pack(b"HGET", record_key(session), b"epochs")])
        epochs = cast(bytes | None, checked(replies[0]))
        return _decode_epochs(epochs) if epochs else []

    async def delete(self, session: SessionId) -> SessionRecord | None:
        """See the port."""
        key = record_key(session)
        async with self._pool.borrow(key) as link:
            for _ in range(ATTEMPTS):
                await link.ask_one(b"WATCH", key)
                record, epochs = await _load(link, key)
                if record is None or record.deleted:
                    await link.ask_one(b"UNWATCH")
                    return None
                after = replace(record, retention_s=0)
                commands = [pack(b"HSET", key, b"record", _encode(after)), pack(b"EXPIRE", key, TTL_S)]
                if record.state is SessionState.ENDED:
                    commands += self._deletion(after, epochs)
                if await transact(link, commands) is not None:
                    return record
        raise BusUnavailable(f"the record of {session} changes too fast to be changed", code="bus_contended")

    def _keeping(self, record: SessionRecord, epochs: list[Epoch]) -> list[bytes]:
        """Captions and record of an ended session stay as long as it asked for, and are found until then."""
        shard, now_ms = shard_of(record.id), self._clock.wall_ms()
        kept = (record_key(record.id), *finals_keys(record.id, len(record.tracks), epochs))
        return [
            *(pack(b"EXPIRE", key, record.retention_s) for key in kept),
            pack(b"ZREMRANGEBYSCORE", kept_key(shard), b"-inf", f"({now_ms}"),
            pack(b"ZADD", kept_key(shard), now_ms + record.retention_s * 1000, record.id),
            pack(b"EXPIRE", kept_key(shard), KEPT_TTL_S),
        ]

    def _deletion(self, record: SessionRecord, epochs: list[Epoch]) -> list[bytes]:
        """Captions go, and what the record says of the call."""
        key = record_key(record.id)
        return [
            pack(b"HSET", key, b"record", _encode(record.blank())),
            pack(b"EXPIRE", key, TTL_S),
            pack(b"UNLINK", *finals_keys(record.id, len(record.tracks), epochs)),
            pack(b"ZREM", kept_key(shard_of(record.id)), record.id),
        ]

    async def touch(self, sessions: Sequence[SessionId], wall_ms: int) -> None:
        """See the port; TTLs once a minute, and an ended session is not revived (``XX``)."""
        now = self._clock.monotonic()
        commands = [pack(b"ZADD", sessions_key(shard_of(each)), b"XX", wall_ms, each) for each in sessions]
        due = [each for each in sessions if now - self._ttl_renewed_at.get(each, -RENEW_TTL_S) >= RENEW_TTL_S]
        loads = [pack(b"HMGET", record_key(session), b"record", b"epochs") for session in due]
        for session, reply in zip(due, await self._pool.ask(loads), strict=True):
            record, epochs = _fields(checked(reply))
            if record is not None and record.state is not SessionState.ENDED:
                commands += [pack(b"EXPIRE", key, TTL_S) for key in self._keys_of(record, epochs)]
                self._ttl_renewed_at[session] = now
        for reply in await self._pool.ask(commands):
            checked(reply)
        if len(self._ttl_renewed_at) > 2 * len(sessions) + 64:
            self._ttl_renewed_at = {
                session: at for session, at in self._ttl_renewed_at.items() if now - at < RENEW_TTL_S
            }

    async def abandoned(self, before_ms: int) -> Sequence[SessionId]:
        """See the port; forgets sessions whose record has expired."""
        looks = [pack(b"ZRANGEBYSCORE", sessions_key(shard), b"-inf", f"({before_ms}") for shard in self._shards]
        silent = [
            SessionId(raw.decode())
            for reply in await self._pool.ask(looks)
            for raw in cast(list[bytes], checked(reply))
        ]
        records = await self.get_many(silent)
        expired = [session for session, record in zip(silent, records, strict=True) if record is None]
        for reply in await self._pool.ask([pack(b"ZREM", sessions_key(shard_of(each)), each) for each in expired]):
            checked(reply)
        return [session for session, record in zip(silent, records, strict=True) if record is not None]

    async def note_progress(self, stage: Stages, progress: Mapping[TrackKey, StageProgress]) -> None:
        """See the port. The EXPIRE goes along always: a hash that came back after its session's end must vanish."""
        commands: list[bytes] = []
        for track, noted in progress.items():
            key = progress_key(track)
            commands += [pack(b"HSET", key, stage.value, _encode(noted)), pack(b"EXPIRE", key, TTL_S)]
        for reply in await self._pool.ask(commands):
            checked(reply)

    async def progress(self, tracks: Sequence[TrackKey]) -> Sequence[Mapping[Stages, StageProgress]]:
        """See the port."""
        stages = list(Stages)
        asked = [pack(b"HMGET", progress_key(track), *(stage.value for stage in stages)) for track in tracks]
        return [
            {
                stage: _decode_progress(raw)
                for stage, raw in zip(stages, cast(list[bytes | None], checked(reply)), strict=True)
                if raw is not None
            }
            for reply in await self._pool.ask(asked)
        ]

    async def count_takeover(self, stage: Stages, track: TrackKey, position: int) -> int:
        """See the port. The field's name holds the position, so the count starts anew by itself where it moved."""
        replies = await self._pool.ask(_counting(stage, track, position, 1))
        return cast(int, checked(replies[0]))

    async def uncount_takeovers(self, stage: Stages, positions: Mapping[TrackKey, int]) -> None:
        """See the port."""
        commands = [each for track, position in positions.items() for each in _counting(stage, track, position, -1)]
        for reply in await self._pool.ask(commands):
            checked(reply)

    async def announce(self, status: WorkerStatus, wall_ms: int) -> None:
        """See the port."""
        key, registry = worker_key(status.stage, status.id), workers_key(status.stage)
        for reply in await self._pool.ask([
            pack(b"HSET", key, b"status", _encode(status)),
            pack(b"EXPIRE", key, WORKER_TTL_S),
            pack(b"ZADD", registry, wall_ms, status.id),
            pack(b"ZREMRANGEBYSCORE", registry, b"-inf", f"({wall_ms - WORKER_TTL_S * 1000}"),
            pack(b"EXPIRE", registry, TTL_S),
        ]):  # fmt: skip
            checked(reply)

    async def withdraw(self, status: WorkerStatus) -> None:
        """See the port."""
        commands = [
            pack(b"ZREM", workers_key(status.stage), status.id),
            pack(b"UNLINK", worker_key(status.stage, status.id)),
        ]
        for reply in await self._pool.ask(commands):
            checked(reply)

    async def workers(self, now_ms: int) -> Sequence[WorkerStatus]:
        """See the port."""
        since = now_ms - WORKER_SILENT_MS
        looks = [pack(b"ZRANGEBYSCORE", workers_key(stage), since, b"+inf") for stage in Stages]
        asked = [
            pack(b"HGET", worker_key(stage, raw.decode()), b"status")
            for stage, reply in zip(Stages, await self._pool.ask(looks), strict=True)
            for raw in cast(list[bytes], checked(reply))
        ]
        lines = [cast(bytes | None, checked(reply)) for reply in await self._pool.ask(asked)]
        return [_decode_worker(line) for line in lines if line is not None]

    async def memory_fraction(self) -> float:
        """See the port."""
        return (await self._pool.info()).memory_fraction

    async def server_version(self) -> tuple[int, ...]:
        """See the port."""
        return (await self._pool.info()).version

    def _keys_of(self, record: SessionRecord, epochs: list[Epoch]) -> set[str]:
        shard = shard_of(record.id)
        keys = {record_key(record.id), sessions_key(shard), *finals_keys(record.id, len(record.tracks), epochs)}
        for track in record.track_keys():
            keys.add(progress_key(track))
            keys.update(log_key(LogKey(track, name)) for name in LogName)
        opening = Opening(record, {}, None)
        keys.update(claims_key(shard, stage, opening.bundle(stage)) for stage in record.stages)
        return keys


def _counting(stage: Stages, track: TrackKey, position: int, change: int) -> list[bytes]:
    key, field = progress_key(track), f"takeovers:{stage.value}:{position}"
    return [pack(b"HINCRBY", key, field, change), pack(b"EXPIRE", key, TTL_S)]


async def _load(link: Link, key: str) -> tuple[SessionRecord | None, list[Epoch]]:
    return _fields(await link.ask_one(b"HMGET", key, b"record", b"epochs"))


def _fields(reply: Reply) -> tuple[SessionRecord | None, list[Epoch]]:
    record, epochs = cast(list[bytes | None], reply)
    return _record(record), _decode_epochs(epochs) if epochs else []


def _record(raw: Reply) -> SessionRecord | None:
    return None if raw is None else _decode_record(cast(bytes, raw))
