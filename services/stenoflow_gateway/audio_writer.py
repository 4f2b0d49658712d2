"""One track's way into its audio log: what came, in order, one append in flight (DESIGN 2, sentence 2).

Pure: takes samples and marks, gives entries, and takes the log's word where the log goes further. Never does I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import Tail
from stenoflow.runtime.track_run import next_id

MAX_ENTRY_MS = 640
"""What queued up while an append was in flight goes in one entry, up to this much."""

SAMPLE_BYTES = 2
CLIENT = "client"
GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class _Chunk:
    begin: int
    samples: bytes
    wall_ms: int

    @property
    def end(self) -> int:
        return self.begin + len(self.samples) // SAMPLE_BYTES

    def after(self, position: int) -> _Chunk:
        return _Chunk(position, self.samples[(position - self.begin) * SAMPLE_BYTES :], self.wall_ms)


class AudioWriter:
    """The end of one track's audio log, as this gateway knows it, and what is to follow there.

    Args:
        track: whose log.
        sample_rate: the client's, Hz.
        tail: the log's end.
    """

    def __init__(self, track: TrackKey, sample_rate: int, tail: Tail) -> None:
        self.track = track
        self._max_samples = sample_rate * MAX_ENTRY_MS // 1000
        self._chunks: deque[_Chunk] = deque()
        self._marks: list[Mark] = []
        self.in_flight: tuple[EntryId, Entry] | None = None
        self._take_word(tail)
        self._number = tail.marks_count
        self.next = self.received

    received: int
    """End of the log, client samples."""

    tail_id: EntryId
    """Of the newest entry that is known to be there."""

    over: bool
    """The log holds its ``end`` mark."""

    @property
    def idle(self) -> bool:
        """Whether all that came is in the log."""
        return self.in_flight is None and not self._chunks and not self._marks

    def push(self, samples: bytes, wall_ms: int) -> None:
        """Queues samples that begin at :attr:`next`."""
        if samples:
            chunk = _Chunk(self.next, samples, wall_ms)
            self._chunks.append(chunk)
            self.next = chunk.end

    def mark(self, kind: MarkKind, who: str = CLIENT, fields: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Queues a mark at :attr:`next`."""
        self._marks.append(Mark(kind, self.next, who, self._number, dict(fields)))
        self._number += 1

    def entry(self) -> tuple[EntryId, Entry] | None:
        """What to append next, None while an append is in flight or nothing is queued. It is in flight from now on."""
        if self.in_flight is not None or self.over or not (self._chunks or self._marks):
            return None
        begin = end = self.received
        limit = begin + self._max_samples
        parts: list[bytes] = []
        stamps: dict[str, int] = {}
        while self._chunks and end < limit:
            chunk = self._chunks.popleft()
            if chunk.end > limit:
                self._chunks.appendleft(chunk.after(limit))
                chunk = _Chunk(chunk.begin, chunk.samples[: (limit - chunk.begin) * SAMPLE_BYTES], chunk.wall_ms)
            parts.append(chunk.samples)
            stamps = {"received": chunk.wall_ms}
            end = chunk.end
        marks = tuple(mark for mark in self._marks if mark.at <= end)
        self._marks = self._marks[len(marks) :]
        entry = Entry(
            self.track,
            Kind.AUDIO,
            begin,
            end,
            spans=(Span(begin, end),) if end > begin else (),
            hop=1,
            frame_bytes=SAMPLE_BYTES,
            data=b"".join(parts),
            marks=marks,
            marks_before=self._marks_count,
            stamps=stamps,
        )
        self.in_flight = (next_id(self.tail_id, entry), entry)
        return self.in_flight

    def appended(self) -> Entry:
        """The entry in flight is in the log; returns it."""
        assert self.in_flight is not None, f"{self.track}: an append came back that nobody sent"
        self.tail_id, entry = self.in_flight
        self.in_flight = None
        self.received = entry.end
        self._marks_count += len(entry.marks)
        self.over = entry.ends
        return entry

    def adopt(self, tail: Tail) -> None:
        """The log goes further than was known: takes its word, and keeps what lies after its end (sentence 2).

        The caller has made sure that the log does not end before :attr:`tail_id`.
        """
        assert tail.id >= self.tail_id, f"{self.track}: the log ends before what it took"
        waiting = self._marks
        if self.in_flight is not None:
            _, entry = self.in_flight
            waiting = [*entry.marks, *waiting]
            wall_ms = entry.stamps.get("received", 0)
            self._chunks.appendleft(_Chunk(entry.begin, entry.data, wall_ms))
            self.in_flight = None
        self._take_word(tail)
        if self.over:
            self._chunks.clear()
            self._marks = []
            self.next = max(self.next, self.received)
            return
        while self._chunks and self._chunks[0].end <= self.received:
            self._chunks.popleft()
        if self._chunks and self._chunks[0].begin < self.received:
            self._chunks.appendleft(self._chunks.popleft().after(self.received))
        there = {mark.identity for mark in tail.marks}
        self._marks = [mark.moved(max(mark.at, self.received)) for mark in waiting if mark.identity not in there]
        self._number = max(self._number, self._marks_count)
        self.next = max(self.next, self.received)

    def rewind(self, tail: Tail) -> None:
        """The log lost its end: forgets what is queued, since the client sends all of it again from :attr:`next`."""
        self._chunks.clear()
        self._marks = []
        self.in_flight = None
        self._take_word(tail)
        self._number = tail.marks_count
        self.next = self.received

    def _take_word(self, tail: Tail) -> None:
        self.received = tail.entry.end
        self.over = tail.entry.ends
        self.tail_id = tail.id
        self._marks_count = tail.marks_count
