"""One reader a shard for all sockets: ``finals``, ``live``, progress and records, handed to the session machines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import shard_of
from stenoflow.bus.entry import Entry, EntryId
from stenoflow.bus.logs import LogKey, LogName, Logs
from stenoflow.bus.records import Records, SessionRecord
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.events import Event

BLOCK_MS = 100
"""How long a read waits; a socket that comes meanwhile waits no longer for its first news."""

BLOCKING_LOGS = 48
"""From so many logs on the reader does not block: a wake-up over many keys is dear (DESIGN 5)."""

GATHER_S = (0.005, 0.020)
"""Bounds of the pause between two reads that do not block: as long as the last round took, within these."""

PROGRESS_S = 0.5
"""How often progress is read."""

RECORD_S = 2.0
"""How often records are read: who speaks for a session, and whether it is broken."""

FOLLOWED = (LogName.FINALS, LogName.DRAFTS, LogName.LIVE)
"""What is read. In this order it is told: what is superseded already is then left out."""

RETRY_S = 0.2
"""Pause after Redis did not answer."""


class Follower(Protocol):
    """Whoever wants news of a session."""

    def feed(self, event: Event) -> None:
        """Takes one event."""
        ...

    def finals_position(self, number: int) -> int:
        """Up to where a track's finals were taken, 16 kHz samples."""
        ...


@dataclass(eq=False, slots=True)
class _Followed:
    follower: Follower
    record: SessionRecord
    read: dict[LogKey, EntryId] = field(default_factory=dict)

    def rewind(self) -> None:
        """Reads again from what was taken (DESIGN 3: after every reconnect)."""
        for track in self.record.track_keys():
            finals = EntryId(self.follower.finals_position(track.number), 0)
            for name in self.followed:
                self.read[LogKey(track, name)] = EntryId(0, 0) if name is LogName.LIVE else finals

    @property
    def followed(self) -> tuple[LogName, ...]:
        """The logs that are read, in the order in which news are told."""
        return tuple(name for name in FOLLOWED if name is not LogName.DRAFTS or self.record.second_pass)


class ShardReader:
    """Reads for all sockets whose sessions lie in one shard.

    Args:
        shard: its hash tag.
        logs: the logs.
        records: progress and records.
        clock: time.
    """

    def __init__(self, shard: str, logs: Logs, records: Records, clock: Clock) -> None:
        self._logs = logs
        self._records = records
        self._clock = clock
        self._followed: dict[Follower, _Followed] = {}
        self._some = asyncio.Event()
        self._generation = ""
        self._last_round_s = 0.0
        self._log = structlog.get_logger().bind(shard=shard)

    def follow(self, follower: Follower, record: SessionRecord) -> None:
        """From now on tells ``follower`` what is new of this session; replaces what it followed before."""
        followed = _Followed(follower, record)
        followed.rewind()
        self._followed[follower] = followed
        self._some.set()

    def leave(self, follower: Follower) -> None:
        """Tells ``follower`` nothing any more."""
        self._followed.pop(follower, None)
        if not self._followed:
            self._some.clear()

    async def run(self) -> None:
        """Reads until cancelled; a bug ends it."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                if watching.done():
                    watching.result()
                await self._some.wait()
                try:
                    await self._read()
                except BusUnavailable as error:
                    self._log.warning("bus unavailable", code=error.code)
                    await asyncio.sleep(RETRY_S)
                    self._rewind_all()
        finally:
            watching.cancel()

    async def _read(self) -> None:
        after: dict[LogKey, EntryId] = {}
        for followed in self._followed.values():
            for key, last in followed.read.items():
                after[key] = min(last, after.get(key, last))
        blocking = len(after) < BLOCKING_LOGS
        if not blocking:
            await asyncio.sleep(min(max(self._last_round_s, GATHER_S[0]), GATHER_S[1]))
        began = self._clock.monotonic()
        news = await self._logs.read(after, block_ms=BLOCK_MS if blocking else None)
        self._look_at_server()
        for followed in list(self._followed.values()):
            self._tell(followed, after, news)
        self._last_round_s = self._clock.monotonic() - began

    def _look_at_server(self) -> None:
        generation = self._logs.generation()
        if self._generation and generation != self._generation:
            self._log.warning("another server, or the same one again")
            self._rewind_all()
            for follower in list(self._followed):
                follower.feed(on.ServerChanged())
        self._generation = generation

    def _rewind_all(self) -> None:
        for followed in self._followed.values():
            followed.rewind()

    def _tell(
        self,
        followed: _Followed,
        after: Mapping[LogKey, EntryId],
        news: Mapping[LogKey, Sequence[tuple[EntryId, Entry]]],
    ) -> None:
        """Tells one follower what is new for it.

        Who came, or was set back, while the read was under way is told nothing of it: it began beyond what they need.
        """
        for track in followed.record.track_keys():
            for name in followed.followed:
                key = LogKey(track, name)
                last = followed.read[key]
                if key not in after or after[key] > last:
                    continue
                fresh = [(entry_id, entry) for entry_id, entry in news.get(key, ()) if entry_id > last]
                if not fresh or self._followed.get(followed.follower) is not followed:
                    continue
                followed.read[key] = fresh[-1][0]
                match name:
                    case LogName.FINALS:
                        followed.follower.feed(on.FinalsRead(track, fresh))
                    case LogName.DRAFTS:
                        followed.follower.feed(on.DraftsRead(track, [entry for _, entry in fresh]))
                    case _:
                        followed.follower.feed(on.LiveRead(track, [entry for _, entry in fresh]))

    async def _watch(self) -> None:
        record_due = self._clock.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_S)
            try:
                await self._read_progress()
                if self._clock.monotonic() >= record_due:
                    record_due = self._clock.monotonic() + RECORD_S
                    await self._read_records()
            except BusUnavailable as error:
                self._log.warning("bus unavailable", code=error.code)

    async def _read_progress(self) -> None:
        tracks = [track for followed in self._followed.values() for track in followed.record.track_keys()]
        if not tracks:
            return
        progress = dict(zip(tracks, await self._records.progress(tracks), strict=True))
        for followed in list(self._followed.values()):
            of_this = {track: progress[track] for track in followed.record.track_keys() if track in progress}
            if self._followed.get(followed.follower) is followed:
                followed.follower.feed(on.ProgressRead(of_this))

    async def _read_records(self) -> None:
        asked = list(self._followed.values())
        if not asked:
            return
        records = await self._records.get_many([followed.record.id for followed in asked])
        for followed, record in zip(asked, records, strict=True):
            if self._followed.get(followed.follower) is followed:
                followed.follower.feed(on.RecordRead(record))


class Readers:
    """The readers of all shards.

    Args:
        logs: the logs.
        records: progress and records.
        clock: time.
        shards: how many there are.
    """

    def __init__(self, logs: Logs, records: Records, clock: Clock, shards: int) -> None:
        self._shards = {
            f"{{s{number:02d}}}": ShardReader(f"{{s{number:02d}}}", logs, records, clock) for number in range(shards)
        }

    def follow(self, follower: Follower, record: SessionRecord) -> None:
        """See :meth:`ShardReader.follow`."""
        self._shards[shard_of(record.id)].follow(follower, record)

    def leave(self, follower: Follower) -> None:
        """See :meth:`ShardReader.leave`."""
        for reader in self._shards.values():
            reader.leave(follower)

    async def run(self) -> None:
        """Reads all shards until cancelled; a bug in one ends all."""
        async with asyncio.TaskGroup() as tasks:
            for reader in self._shards.values():
                tasks.create_task(reader.run())
