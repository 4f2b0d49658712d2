"""Signs of life of this gateway's sessions, and the end of those that have none any more (DESIGN 3, marks)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import SessionId, TrackKey
from stenoflow.bus.entry import END_ID, Entry, Kind, Mark, MarkKind
from stenoflow.bus.logs import Full, LogKey, LogName, Logs
from stenoflow.bus.records import ABANDONED_S, Records, SessionRecord, SessionState
from stenoflow_gateway.access.tenants import Tenants
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.session.audio_writer import GATEWAY, SAMPLE_BYTES

SIGN_S = 15.0
"""How often a session's sign of life is written: four times before it counts as abandoned."""

LOOK_S = 5.0
"""How often abandoned sessions are looked for."""

FINISH_S = 1.0
"""How often sessions that were ended here are looked at, until their finals are through."""


class Janitor:
    """Keeps signs of life, and ends what is abandoned. Any gateway does it for all.

    Args:
        records: sessions.
        logs: their logs.
        clock: time.
        alive: the sessions that have a socket here.
        metrics: counts what was ended.
        tenants: for whom open sessions count.
    """

    def __init__(
        self,
        records: Records,
        logs: Logs,
        clock: Clock,
        alive: Callable[[], Collection[SessionRecord]],
        metrics: GatewayMetrics,
        tenants: Tenants,
    ) -> None:
        self._records = records
        self._logs = logs
        self._clock = clock
        self._alive = alive
        self._metrics = metrics
        self._tenants = tenants
        self._ending: dict[SessionId, SessionRecord] = {}
        # The 60 s count only while Redis takes writes: a full Redis refuses signs of life too.
        self._writable_since = clock.monotonic()
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Works until cancelled."""
        sign_due = look_due = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            try:
                if now >= sign_due:
                    sign_due = now + SIGN_S
                    await self.sign()
                if now >= look_due:
                    look_due = now + LOOK_S
                    await self.look()
                await self.finish()
            except BusUnavailable as error:
                self._writable_since = self._clock.monotonic()
                self._log.warning("bus unavailable", code=error.code)
            await asyncio.sleep(FINISH_S)

    async def sign(self) -> None:
        """Writes signs of life of all sessions that have a socket here."""
        records = list(self._alive())
        if records:
            await self._records.touch([record.id for record in records], self._clock.wall_ms())
            await self._tenants.touch(records)

    async def look(self) -> None:
        """Ends sessions that are abandoned."""
        if self._clock.monotonic() - self._writable_since < ABANDONED_S:
            return
        before_ms = self._clock.wall_ms() - ABANDONED_S * 1000
        for session in await self._records.abandoned(before_ms):
            record = await self._records.get(session)
            # Once more: the client may have come back while others were ended.
            if record is None or session not in await self._records.abandoned(before_ms):
                continue
            if session not in self._ending:
                self._log.info("session abandoned", session=session)
                self._metrics.abandoned.inc()
            await self.end(record)

    async def end(self, record: SessionRecord) -> None:
        """Writes ``end`` on every track that has none; the record follows once the finals are through."""
        self._ending[record.id] = record
        if record.state is SessionState.OPEN:
            for track in record.track_keys():
                await self._end_track(track)

    async def _end_track(self, track: TrackKey) -> None:
        key = LogKey(track, LogName.AUDIO)
        tail = await self._logs.tail(key)
        if tail is None or tail.entry.ends:
            return
        at = tail.entry.end
        mark = Mark(MarkKind.END, at, GATEWAY, tail.marks_count)
        entry = Entry(
            track,
            Kind.AUDIO,
            at,
            at,
            hop=1,
            frame_bytes=SAMPLE_BYTES,
            marks=(mark,),
            marks_before=tail.marks_count,
        )
        outcome = (await self._logs.append([(key, END_ID, entry)]))[0]
        if isinstance(outcome, Full):
            self._writable_since = self._clock.monotonic()

    async def finish(self) -> None:
        """Marks sessions as ended whose finals are through, and forgets those that somebody else speaks for."""
        for session, record in list(self._ending.items()):
            present = await self._records.get(session)
            if present is None or present.connection != record.connection or present.state is SessionState.ENDED:
                self._ending.pop(session, None)
                continue
            tails = [await self._logs.tail(LogKey(track, LogName.FINALS)) for track in record.track_keys()]
            through = all(tail is None or tail.entry.ends for tail in tails)
            if through or present.state is SessionState.BROKEN:
                await self._records.finish(record, SessionState.ENDED)
                self._ending.pop(session, None)
                await self._tenants.leave(record)
