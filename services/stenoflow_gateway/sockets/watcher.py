"""One watcher of a session: what was said so far, then partials and finals as they come, and ``ended``.

It only reads. All of a shard's watchers and callers share one reader; what is old it fetches for itself, so that a
watcher who comes late holds nobody up.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from stenoflow.base.errors import BusUnavailable, LogGap, StenoflowError
from stenoflow.base.ids import TrackKey
from stenoflow.base.positions import Position, to_client
from stenoflow.bus.entry import Cursor, Entry, EntryId, Kind, MarkKind
from stenoflow.bus.logs import Logs
from stenoflow.bus.records import Records, SessionRecord, SessionState
from stenoflow.protocol import messages as wire
from stenoflow.runtime.spotted import ToldOnce
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.captions import draft_of, quality_of
from stenoflow_gateway.session.events import BUG, Code, Event
from stenoflow_gateway.sockets.outgoing import Outgoing, Socket
from stenoflow_gateway.sockets.reader import Readers
from stenoflow_gateway.sockets.said import entries_of, final_of

RETRY_S = 0.2
"""Pause before Redis is asked again."""


class Services(Protocol):
    """What watchers share; :class:`stenoflow_gateway.gateway.Gateway` is it."""

    logs: Logs
    records: Records
    readers: Readers
    metrics: GatewayMetrics


@dataclass(slots=True)
class _Track:
    """How far a watcher has seen one track."""

    cursor: Cursor
    shown: int = 0
    """End of the finals that it was sent; a new epoch may begin before."""
    drafted: int = 0
    utterances: int = 0
    words: int = 0
    over: bool = False
    gap: bool = field(default=False)
    spotted: ToldOnce = field(default_factory=ToldOnce)

    def take(self, entries: Sequence[tuple[EntryId, Entry]]) -> list[str]:
        """What is to be sent of finals that are new."""
        fresh: list[str] = []
        for entry_id, entry in entries:
            try:
                news = self.cursor.take(entry_id, entry)
            except LogGap:
                self.gap = True
                break
            if news is None:
                continue
            self.over = self.over or news.ends
            if entry.end > self.shown:
                fresh += self.messages_of(entry)
        return fresh

    def messages_of(self, entry: Entry) -> list[str]:
        """Counts a final; gives the phrases that were spotted in it, and its caption unless nothing was said."""
        self.shown = max(self.shown, entry.end)
        spotted = self.spotted.take(entry.track.number, entry.marks, self.shown, final_to=entry.end)
        messages = [message.model_dump_json() for message in spotted]
        if (final := final_of(entry)) is not None:
            self.utterances += 1
            self.words += len(final.words)
            messages.append(entry.data.decode())
        return messages


class Watcher:
    """One socket that watches.

    Args:
        socket: accepted.
        services: what all share.
        record: of the session.
    """

    def __init__(self, socket: Socket, services: Services, record: SessionRecord) -> None:
        self._socket = socket
        self._services = services
        self._record = record
        self._tracks: list[_Track] = []
        self._out = Outgoing(socket, record.id, services.metrics)
        self._stale = asyncio.Event()
        self._stale.set()
        self._log = structlog.get_logger().bind(session=record.id)

    def finals_position(self, number: int) -> int:
        """Up to where a track's finals were taken, 16 kHz samples."""
        return self._tracks[number].cursor.position

    async def run(self) -> None:
        """Shows the session until it is over or the socket is closed."""
        writing = asyncio.create_task(self._out.run())
        others = [asyncio.create_task(self._until_gone()), asyncio.create_task(self._keep_up())]
        try:
            await asyncio.wait({writing, *others}, return_when=asyncio.FIRST_COMPLETED)
            if others[1].done() and (error := others[1].exception()) is not None:
                self._bug(error)
                await writing
        finally:
            self._services.readers.leave(self)
            for task in (writing, *others):
                task.cancel()
            await asyncio.gather(writing, *others, return_exceptions=True)
            self._log.info("watcher gone", code=self._out.closing)

    async def _until_gone(self) -> None:
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass  # a watcher has nothing to say

    # ------------------------------------------------------------------ what was said so far

    async def _keep_up(self) -> None:
        """Reads what the shared reader will not tell: at first, in a new epoch, and after whatever broke."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._catch_up()
            except BusUnavailable as error:
                self._log.warning("bus unavailable", code=error.code)
                self._stale.set()
            await asyncio.sleep(RETRY_S)  # a gap that nobody mends would be read again and again without a pause

    async def _catch_up(self) -> None:
        services = self._services
        record = await services.records.get(self._record.id)
        if record is None or record.deleted:
            self._end(StenoflowError("unknown_session", "there is no such session (any more)"))
            return
        epochs = await services.records.epochs(record.id)
        fresh = not self._tracks or record.epoch != self._record.epoch
        self._record = record
        for number, (key, info) in enumerate(zip(record.track_keys(), record.tracks, strict=True)):
            counted, last = await entries_of(services.logs, record, number, epochs)
            if fresh:
                before = self._tracks[number] if number < len(self._tracks) else _Track(Cursor(key, info.base))
                before.cursor, before.over = Cursor(key, info.base), False
                self._tracks[number : number + 1] = [before]
            track = self._tracks[number]
            track.gap = False
            for entry in counted:
                if entry.track != key and entry.end > track.shown:
                    self._put(track.messages_of(entry))
            self._put(track.take(last))
        if self._is_over() or record.state is SessionState.ENDED:
            self._end()
        else:
            services.readers.follow(self, record)

    # ------------------------------------------------------------------ news

    def feed(self, event: Event) -> None:
        """Takes one event of the shared reader, or the gateway's drain."""
        if self._out.closing is not None:
            return
        try:
            self._take(event)
        except Exception as error:  # a bug ends this watcher alone, not the reader that all share
            self._bug(error)

    def _bug(self, error: BaseException) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self._log.error("bug", kind=type(error).__name__, where=f"{where.filename}:{where.lineno}")
        self._services.readers.leave(self)
        self._out.close(BUG)

    def _take(self, event: Event) -> None:
        match event:
            case on.FinalsRead(key, entries) if (track := self._track(key)) is not None:
                self._put(track.take(entries))
                if track.gap:
                    self._refresh()
                elif self._is_over():
                    self._end()
            case on.DraftsRead(key, entries) if (track := self._track(key)) is not None:
                self._show_drafts(key.number, track, entries)
            case on.LiveRead(key, entries) if (track := self._track(key)) is not None:
                self._show_live(key.number, track, entries)
            case on.RecordRead(record):
                self._look_at(record)
            case on.ServerChanged():
                self._refresh()
            case on.Drain():
                self._out.put(wire.Reconnect().model_dump_json())
                self._out.close(Code.RESTART)
            case _:
                pass

    def _look_at(self, record: SessionRecord | None) -> None:
        if record is not None and record.state is SessionState.BROKEN and record.error is not None:
            code, sentence = record.error
            if code != "log_gap":  # that one is mended by its gateway, in a new epoch
                self._end(StenoflowError(code, sentence))
        elif record is None or record.epoch != self._record.epoch or record.state is not SessionState.OPEN:
            self._refresh()

    def _refresh(self) -> None:
        self._services.readers.leave(self)
        self._stale.set()

    def _put(self, messages: Sequence[str]) -> None:
        for message in messages:
            self._out.put(message)

    def _show_drafts(self, number: int, track: _Track, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind is Kind.FINAL and entry.end > max(track.drafted, track.shown):
                track.drafted = entry.end
                draft = draft_of(entry)
                if draft is not None:
                    self._out.put(draft.decode())

    def _show_live(self, number: int, track: _Track, entries: Sequence[Entry]) -> None:
        newest = b""
        for entry in entries:
            if entry.kind is not Kind.LIVE:
                continue
            for mark in entry.marks:
                if mark.kind is MarkKind.QUALITY:
                    self._out.put(quality_of(number, mark).model_dump_json(), ("quality", number))
            spotted = track.spotted.take(number, entry.marks, track.shown)
            self._put([message.model_dump_json() for message in spotted])
            if entry.data and entry.end > max(track.shown, track.drafted):
                newest = entry.data
        if newest:
            self._out.put(newest.decode(), ("partial", number))

    def _track(self, key: TrackKey) -> _Track | None:
        track = self._tracks[key.number] if key.number < len(self._tracks) else None
        return track if track is not None and track.cursor.track == key else None

    def _is_over(self) -> bool:
        return all(track.over for track in self._tracks)

    def _end(self, error: StenoflowError | None = None) -> None:
        """The last message: totals, or why there is nothing more."""
        self._services.readers.leave(self)
        if error is not None:
            self._out.put(
                wire.Error(code=error.code, message=error.message, retryable=error.retryable).model_dump_json()
            )
            self._out.close(Code.NO_SESSION if error.code == "unknown_session" else Code.BROKEN)
            return
        totals = []
        for number, (track, info) in enumerate(zip(self._tracks, self._record.tracks, strict=True)):
            end = to_client(Position(track.cursor.position), info.sample_rate)
            totals.append(
                wire.EndedTrack(
                    track=number, received=end, committed=end, utterances=track.utterances, words=track.words
                )
            )
        self._out.put(wire.Ended(tracks=tuple(totals)).model_dump_json())
        self._out.close(Code.NORMAL)
