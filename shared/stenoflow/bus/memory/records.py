"""Session records, progress and the worker registry in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry, encode_header
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory.state import Lease, State
from stenoflow.bus.opening import opening_id
from stenoflow.bus.records import (
    TTL_S,
    WORKER_SILENT_MS,
    Opened,
    SessionRecord,
    SessionState,
    StageProgress,
    Stages,
    WorkerStatus,
    claims_bundle,
)


class MemoryRecords:
    """The port :class:`stenoflow.bus.records.Records`.

    Args:
        state: of the pretended server.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def open(self, record: SessionRecord, openings: Mapping[LogName, Sequence[Entry]]) -> Opened | None:
        """See the port."""
        state = self._state
        state.look_before_write()
        old = state.records.get(record.id)
        if old is not None:
            if old.connection > record.connection or old.epoch == record.epoch:
                return None
            self._remove(old, keep=(LogName.FINALS,))
        state.records[record.id] = record
        state.epochs.setdefault(record.id, []).append(record.epoch)
        for name, entries in openings.items():
            for entry in entries:
                state.logs[LogKey(entry.track, name)] = [(opening_id(entry), encode_header(entry), entry.data)]
        counts = {}
        for stage in record.stages:
            claims = state.claims.setdefault((stage, claims_bundle(stage, record)), {})
            claims.update({state.next_claim_id(): Lease(track) for track in record.track_keys()})
            counts[stage] = len(claims)
        state.last_sign_ms[record.id] = state.clock.wall_ms()
        state.keep_alive(record.id)
        return Opened(counts)

    async def get(self, session: SessionId) -> SessionRecord | None:
        """See the port."""
        self._state.look()
        return self._state.records.get(session)

    async def get_many(self, sessions: Sequence[SessionId]) -> Sequence[SessionRecord | None]:
        """See the port."""
        self._state.look()
        return [self._state.records.get(session) for session in sessions]

    async def connect(self, session: SessionId, token_hash: str) -> SessionRecord | None:
        """See the port."""
        self._state.look_before_write()
        record = self._state.records.get(session)
        if record is None or record.token_hash != token_hash:
            return None
        self._state.records[session] = replace(record, connection=record.connection + 1)
        if session in self._state.last_sign_ms:
            self._state.last_sign_ms[session] = self._state.clock.wall_ms()
        return self._state.records[session]

    async def finish(self, record: SessionRecord, state: SessionState, error: tuple[str, str] | None = None) -> bool:
        """See the port."""
        self._state.look_before_write()
        present = self._state.records.get(record.id)
        if present is None or present.epoch != record.epoch or present.state is SessionState.ENDED:
            return False
        self._state.records[record.id] = replace(present, state=state, error=error)
        if state is SessionState.ENDED:
            self._state.last_sign_ms.pop(record.id, None)
            self._state.keep_alive(record.id, present.retention_s or TTL_S)
            self._remove(present, keep=(LogName.FINALS,), claims=False)
            if present.deleted:
                self._blank(record.id)
        return True

    async def sessions(self) -> Sequence[SessionId]:
        """See the port."""
        self._state.look()
        return [session for session, record in self._state.records.items() if not record.deleted]

    async def epochs(self, session: SessionId) -> Sequence[Epoch]:
        """See the port."""
        self._state.look()
        return tuple(self._state.epochs.get(session, ()))

    async def delete(self, session: SessionId) -> SessionRecord | None:
        """See the port."""
        self._state.look_before_write()
        record = self._state.records.get(session)
        if record is None or record.deleted:
            return None
        self._state.records[session] = replace(record, retention_s=0)
        if record.state is SessionState.ENDED:
            self._blank(session)
        return record

    def _blank(self, session: SessionId) -> None:
        self._state.records[session] = self._state.records[session].blank()
        for key in [key for key in self._state.logs if key.track.session == session]:
            del self._state.logs[key]

    async def touch(self, sessions: Sequence[SessionId], wall_ms: int) -> None:
        """See the port."""
        self._state.look_before_write()
        for session in sessions:
            if session in self._state.last_sign_ms and session in self._state.records:
                self._state.last_sign_ms[session] = wall_ms
                self._state.keep_alive(session)

    async def abandoned(self, before_ms: int) -> Sequence[SessionId]:
        """See the port."""
        self._state.look()
        silent = [session for session, at in self._state.last_sign_ms.items() if at < before_ms]
        for session in silent:
            if session not in self._state.records:
                del self._state.last_sign_ms[session]
        return [session for session in silent if session in self._state.records]

    async def note_progress(self, stage: Stages, progress: Mapping[TrackKey, StageProgress]) -> None:
        """See the port."""
        self._state.look_before_write()
        for track, noted in progress.items():
            self._state.progress.setdefault(track, {})[stage] = noted

    async def progress(self, tracks: Sequence[TrackKey]) -> Sequence[Mapping[Stages, StageProgress]]:
        """See the port."""
        self._state.look()
        return [dict(self._state.progress.get(track, {})) for track in tracks]

    async def count_takeover(self, stage: Stages, track: TrackKey, position: int) -> int:
        """See the port."""
        self._state.look_before_write()
        at, count = self._state.takeovers.get((stage, track), (position, 0))
        count = count + 1 if at == position else 1
        self._state.takeovers[stage, track] = (position, count)
        return count

    async def uncount_takeovers(self, stage: Stages, positions: Mapping[TrackKey, int]) -> None:
        """See the port."""
        self._state.look_before_write()
        for track, position in positions.items():
            at, count = self._state.takeovers.get((stage, track), (position, 0))
            if at == position:
                self._state.takeovers[stage, track] = (position, count - 1)

    async def announce(self, status: WorkerStatus, wall_ms: int) -> None:
        """See the port."""
        self._state.look_before_write()
        self._state.workers[status.stage, status.id] = (wall_ms, status)

    async def withdraw(self, status: WorkerStatus) -> None:
        """See the port."""
        self._state.look()
        self._state.workers.pop((status.stage, status.id), None)

    async def workers(self, now_ms: int) -> Sequence[WorkerStatus]:
        """See the port."""
        self._state.look()
        return [status for at, status in self._state.workers.values() if at >= now_ms - WORKER_SILENT_MS]

    async def memory_fraction(self) -> float:
        """See the port; a full bus says 1.0."""
        self._state.look()
        return 1.0 if self._state.faults.full else 0.0

    async def server_version(self) -> tuple[int, ...]:
        """See the port: the newest rules that the design knows."""
        self._state.look()
        return (7, 2, 4)

    def _remove(self, record: SessionRecord, *, keep: Sequence[LogName], claims: bool = True) -> None:
        for track in record.track_keys():
            for name in LogName:
                if name not in keep:
                    self._state.logs.pop(LogKey(track, name), None)
            self._state.progress.pop(track, None)
            for stage in record.stages:
                self._state.takeovers.pop((stage, track), None)
                if claims:
                    leases = self._state.claims.get((stage, claims_bundle(stage, record)), {})
                    for claim_id in [claim_id for claim_id, lease in leases.items() if lease.track == track]:
                        del leases[claim_id]
