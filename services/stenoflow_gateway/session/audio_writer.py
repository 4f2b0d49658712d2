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


PAUSED = "paused"
"""In the carry of an audio entry: the track is paused where it ends, so that any gateway knows."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """``[begin, end)`` with its samples; without any, it is silence."""

    begin: int
    end: int
    samples: bytes
    wall_ms: int

    def after(self, position: int) -> _Chunk:
        return _Chunk(position, self.end, self.samples[(position - self.begin) * SAMPLE_BYTES :], self.wall_ms)

    def until(self, position: int) -> _Chunk:
        return _Chunk(self.begin, position, self.samples[: (position - self.begin) * SAMPLE_BYTES], self.wall_ms)


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
        self._pauses: list[tuple[int, bool]] = []
        """Where it was paused or resumed since the log's end."""
        self._pauses_in_flight = 0
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
            self._push(_Chunk(self.next, self.next + len(samples) // SAMPLE_BYTES, samples, wall_ms))

    def push_silence(self, end: int, wall_ms: int) -> None:
        """Queues silence up to ``end``: it takes no bytes in the log."""
        if end > self.next:
            self._push(_Chunk(self.next, end, b"", wall_ms))

    def _push(self, chunk: _Chunk) -> None:
        self._chunks.append(chunk)
        self.next = chunk.end

    @property
    def paused(self) -> bool:
        """Whether what comes at :attr:`next` counts as silence."""
        return self._pauses[-1][1] if self._pauses else self._paused

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the track at :attr:`next`."""
        if paused == self.paused:
            return
        if len(self._pauses) > self._pauses_in_flight and self._pauses[-1][0] == self.next:
            self._pauses.pop()  # taken back before anything was said: any number of these takes no room
        else:
            self._pauses.append((self.next, paused))

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
        spans: list[Span] = []
        stamps: dict[str, int] = {}
        while self._chunks and end < limit:
            chunk = self._chunks.popleft()
            if chunk.end > limit:
                self._chunks.appendleft(chunk.after(limit))
                chunk = chunk.until(limit)
            if chunk.samples:
                parts.append(chunk.samples)
                joined = spans.pop().begin if spans and spans[-1].end == chunk.begin else chunk.begin
                spans.append(Span(joined, chunk.end))
            stamps = {"received": chunk.wall_ms}
            end = chunk.end
        self._pauses_in_flight = sum(at <= end for at, _ in self._pauses)
        paused = self._pauses[self._pauses_in_flight - 1][1] if self._pauses_in_flight else self._paused
        marks = tuple(mark for mark in self._marks if mark.at <= end)
        self._marks = self._marks[len(marks) :]
        entry = Entry(
            self.track,
            Kind.AUDIO,
            begin,
            end,
            spans=tuple(spans),
            hop=1,
            frame_bytes=SAMPLE_BYTES,
            data=b"".join(parts),
            marks=marks,
            marks_before=self._marks_count,
            carry={PAUSED: True} if paused else {},
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
        self._paused = PAUSED in entry.carry
        del self._pauses[: self._pauses_in_flight]
        self._pauses_in_flight = 0
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
            self._chunks.extendleft(reversed(_chunks_of(entry)))
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
        # Settings are of their place: whoever wrote sound beyond it had them from the same client, in order.
        waiting = [mark for mark in waiting if mark.kind is not MarkKind.CONFIGURE or mark.at >= self.received]
        self._marks = [mark.moved(max(mark.at, self.received)) for mark in waiting if mark.identity not in there]
        self._pauses = [change for change in self._pauses if change[0] >= self.received]
        self._number = max(self._number, self._marks_count)
        self.next = max(self.next, self.received)

    def rewind(self, tail: Tail) -> None:
        """The log lost its end: forgets what is queued, since the client sends all of it again from :attr:`next`."""
        self._chunks.clear()
        self._marks = []
        self._pauses = []
        self.in_flight = None
        self._take_word(tail)
        self._number = tail.marks_count
        self.next = self.received

    def _take_word(self, tail: Tail) -> None:
        self.received = tail.entry.end
        self.over = tail.entry.ends
        self.tail_id = tail.id
        self._pauses_in_flight = 0
        self._paused = PAUSED in tail.entry.carry
        self._marks_count = tail.marks_count


def _chunks_of(entry: Entry) -> list[_Chunk]:
    """What an entry was made of: sound where its spans are, silence between them."""
    wall_ms = entry.stamps.get("received", 0)
    found: list[_Chunk] = []
    at = entry.begin
    for span in (*entry.spans, Span(entry.end, entry.end)):
        if span.begin > at:
            found.append(_Chunk(at, span.begin, b"", wall_ms))
        if span.end > span.begin:
            found.append(_Chunk(span.begin, span.end, bytes(entry.frames(span)), wall_ms))
        at = span.end
    return found
