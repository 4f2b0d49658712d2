"""A stage that repeats its input, and a call to run through it: what the worker loop does is seen without any model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import SessionRecord, SessionState, TrackInfo
from stenoflow.runtime.loop import Bus
from stenoflow.runtime.stage import ResumeFrom, Step, Track


@dataclass
class Echo:
    """Repeats frames and marks. ``before_step`` lets a test stop the world, or end the worker."""

    before_step: Callable[[], None] = lambda: None
    opened: list[TrackKey] = field(default_factory=list)
    steps: int = 0

    def open(self, track: Track, at: ResumeFrom) -> TrackKey:
        self.opened.append(track.key)
        return track.key

    def step(self, batch: Sequence[tuple[TrackKey, Sequence[Entry]]]) -> Sequence[Step]:
        self.before_step()
        self.steps += 1
        made = []
        for key, entries in batch:
            begin, end = entries[0].begin, entries[-1].end
            spans = tuple(span for entry in entries for span in entry.spans)
            marks = tuple(mark for entry in entries for mark in entry.marks)
            data = b"".join(entry.data for entry in entries)
            entry = Entry(key, Kind.FEATURES, begin, end, spans, 1, 2, data, marks=marks)
            made.append(Step((entry,), restart=end, position=end))
        return made

    def close(self, state: TrackKey) -> None:
        pass


class Call:
    """A session of one track in a bus, written to as a gateway would."""

    def __init__(self, bus: Bus, number: int = 0, shard: int = 0) -> None:
        self.bus = bus
        self.record = SessionRecord(
            SessionId(f"s{shard:02d}-{number:016x}"),
            Epoch("e1"),
            1,
            SessionState.OPEN,
            "",
            "live",
            "",
            (TrackInfo("agent", "pcm_s16le", 16_000),),
        )
        self.key = self.record.track_keys()[0]
        self.position = 0
        self.marks = 0
        self.written = b""

    async def open(self) -> None:
        assert await self.bus.records().open(self.record, opening_entries(self.record)) is not None

    async def say(self, samples: int, *, end: bool = False, skip: int = 0) -> None:
        """Appends sound whose samples name the call and the position."""
        begin = self.position + skip
        stop = begin + samples
        data = b"".join((hash((self.record.id, at)) & 0xFFFF).to_bytes(2, "little") for at in range(begin, stop))
        marks = (Mark(MarkKind.END, stop, "client", self.marks),) if end else ()
        spans = (Span(begin, stop),) if samples else ()
        entry = Entry(
            self.key, Kind.AUDIO, begin, stop, spans, 1, 2, data, marks=marks, marks_before=self.marks, restart=begin
        )
        entry_id = END_ID if end else EntryId(stop, 1)
        await self.bus.logs().append([(LogKey(self.key, LogName.AUDIO), entry_id, entry)])
        self.position = stop
        self.marks += len(marks)
        self.written += data

    async def echoed(self, *, until: Callable[[list[Entry]], bool], seconds: float = 10) -> list[Entry]:
        """The output log once ``until`` holds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            entries = [entry for _, entry in await self.bus.logs().entries(LogKey(self.key, LogName.FEATURES))]
            if until(entries):
                return entries
            assert asyncio.get_running_loop().time() < deadline, f"not in {seconds} s; the log has {entries}"
            await asyncio.sleep(0.01)

    async def ended(self) -> bytes:
        """The whole output, once the end mark is through; checked to tile."""
        entries = await self.echoed(until=lambda found: bool(found) and found[-1].ends)
        sound = [entry for entry in entries if entry.kind is not Kind.OPENING]
        assert all(later.begin == earlier.end for earlier, later in pairwise(sound))
        return b"".join(entry.data for entry in sound)
