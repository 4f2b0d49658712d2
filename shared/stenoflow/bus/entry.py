"""What travels in a log: entries, their marks, their encoding, and how an entry is cut at a position.

An entry covers ``[begin, end)`` of its track (DESIGN 2, sentence 1). Its payload holds frames of one fixed size for
the sub-ranges that ``spans`` names; what no span covers is silence, and costs nothing. Nobody but the stages looks
into the frames themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from stenoflow.base.errors import LogGap
from stenoflow.base.ids import TrackKey

END_SEQUENCE = 18446744073709551615
"""The largest 64-bit number: both halves of the id of an ``end`` entry, so that nothing can follow it."""


class Kind(StrEnum):
    """What an entry's payload is."""

    OPENING = "opening"
    AUDIO = "audio"
    FEATURES = "features"
    EMISSIONS = "emissions"
    FINAL = "final"
    LIVE = "live"


class MarkKind(StrEnum):
    """Events that travel in a log, in order with the sound."""

    SEGMENT_BEGIN = "segment_begin"
    SEGMENT_END = "segment_end"
    CONFIGURE = "configure"
    FINALIZE = "finalize"
    QUALITY = "quality"
    SPOTTED = "spotted"
    PAUSE = "pause"
    END = "end"


CLOSING_MARKS = frozenset({MarkKind.FINALIZE, MarkKind.PAUSE, MarkKind.END})
"""Marks that close the open segment and flush every stage's look-ahead before they pass on."""


class EntryId(NamedTuple):
    """A Redis stream id, ``<end>-<n>``: the entry's end and its count among entries that end there (sentence 2)."""

    end: int
    n: int

    def __str__(self) -> str:
        return f"{self.end}-{self.n}"

    @classmethod
    def parse(cls, text: str | bytes) -> EntryId:
        """Inverse of ``str``."""
        end, n = (text.decode() if isinstance(text, bytes) else text).split("-")
        return cls(int(end), int(n))


END_ID = EntryId(END_SEQUENCE, END_SEQUENCE)


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """An event at a position. ``(who, number, kind)`` is its identity: one that is sent again is recognised.

    Args:
        kind: what happened.
        at: position in the log's own units; frames before ``at`` come before the mark.
        who: the writer that made it: ``client``, or a stage's name.
        number: counts the writer's marks; stages use a number that a redone stretch gives again (the position).
        fields: what the mark says, e.g. settings; small.
    """

    kind: MarkKind
    at: int
    who: str
    number: int
    fields: dict[str, Any] = {}

    @property
    def identity(self) -> tuple[str, int, MarkKind]:
        """What makes two marks the same one."""
        return (self.who, self.number, self.kind)

    def moved(self, at: int) -> Mark:
        """The same mark at a position in another log's units."""
        return msgspec.structs.replace(self, at=at)


@dataclass(frozen=True, slots=True)
class Span:
    """Frames for ``[begin, end)``: ``(end - begin) // hop`` of them."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log.

    Args:
        track: whose; readers check it, so no call ever shows another's words.
        kind: what the payload is.
        begin: first position that the entry covers.
        end: first position that it does not cover.
        spans: sub-ranges with frames, ascending, disjoint, inside ``[begin, end)``.
        hop: positions per frame; 0 where the payload has no frames (captions).
        frame_bytes: bytes per frame.
        data: the frames of all spans, one after the other (or a caption's JSON).
        marks: in order; each ``at`` lies in ``[begin, end]``.
        marks_before: how many marks the log held before this entry; a jump means that one was lost.
        restart: position R in the stage's *input* units from which a fresh worker reaches the state after this
            entry (sentence 4).
        carry: what that worker must adopt: open segment, utterance number, settings in force.
        stamps: wall-clock milliseconds of the newest sound in it, for ``latency``: ``received`` by the gateway,
            ``<stage>.begin`` and ``<stage>.end`` by the worker loop. Stages leave them alone.
        trace: context of the span that made the entry, a W3C ``traceparent``; empty while tracing is off.
    """

    track: TrackKey
    kind: Kind
    begin: int
    end: int
    spans: tuple[Span, ...] = ()
    hop: int = 0
    frame_bytes: int = 0
    data: bytes = b""
    marks: tuple[Mark, ...] = ()
    marks_before: int = 0
    restart: int = 0
    carry: dict[str, Any] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    trace: str = ""

    def __post_init__(self) -> None:
        assert self.begin <= self.end, f"entry of {self.track} runs backwards: [{self.begin}, {self.end})"
        if self.hop:
            frames = sum((span.end - span.begin) // self.hop for span in self.spans)
            assert frames * self.frame_bytes == len(self.data), (
                f"entry of {self.track}: {frames} frames of {self.frame_bytes} bytes, {len(self.data)} bytes given"
            )

    @property
    def ends(self) -> bool:
        """Whether the track is over with this entry."""
        return any(mark.kind is MarkKind.END for mark in self.marks)

    def frames(self, span: Span) -> memoryview:
        """The bytes of one of ``spans``."""
        start = 0
        for candidate in self.spans:
            size = (candidate.end - candidate.begin) // self.hop * self.frame_bytes
            if candidate == span:
                return memoryview(self.data)[start : start + size]
            start += size
        raise KeyError(span)


class _Header(msgspec.Struct, array_like=True, frozen=True):
    track: str
    kind: Kind
    begin: int
    end: int
    spans: tuple[tuple[int, int], ...]
    hop: int
    frame_bytes: int
    marks: tuple[Mark, ...]
    marks_before: int
    restart: int
    carry: dict[str, Any]
    stamps: dict[str, int]
    trace: str = ""  # last and optional: a process of the version before reads and writes headers without it


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Header).decode


def encode_header(entry: Entry) -> bytes:
    """The entry's field ``h``: all but the payload, as msgpack."""
    return _encode(
        _Header(
            str(entry.track),
            entry.kind,
            entry.begin,
            entry.end,
            tuple((span.begin, span.end) for span in entry.spans),
            entry.hop,
            entry.frame_bytes,
            entry.marks,
            entry.marks_before,
            entry.restart,
            entry.carry,
            entry.stamps,
            entry.trace,
        )
    )


# A reader sees the same few hundred tracks over and over; splitting their names would cost as much as the rest.
_track = lru_cache(maxsize=8192)(TrackKey.parse)


def decode_entry(header: bytes, data: bytes) -> Entry:
    """Inverse of ``encode_header``; raises ``msgspec.ValidationError`` where it is none."""
    fields = _decode(header)
    return Entry(
        track=_track(fields.track),
        kind=fields.kind,
        begin=fields.begin,
        end=fields.end,
        spans=tuple(Span(*span) for span in fields.spans),
        hop=fields.hop,
        frame_bytes=fields.frame_bytes,
        data=data,
        marks=fields.marks,
        marks_before=fields.marks_before,
        restart=fields.restart,
        carry=fields.carry,
        stamps=fields.stamps,
        trace=fields.trace,
    )


def drop_before(entry: Entry, position: int, seen: frozenset[tuple[str, int, MarkKind]] = frozenset()) -> Entry:
    """The part of an entry from ``position`` on (sentence 1: what lies before a reader's next position it skips).

    Frames that end at or before ``position`` go, so do marks before it, and marks that stand exactly there and are
    known already (``seen``). A frame that ``position`` cuts in two goes too; writers cut on whole frames.

    An ``end`` stays, wherever it stands: its id is never refused, so who wrote it may not have known all that the log
    held. Nothing can follow it, and a track whose ``end`` was left out would never be over.
    """
    if position <= entry.begin and not seen:
        return entry
    spans: list[Span] = []
    kept: list[memoryview] = []
    for span in entry.spans:
        payload = entry.frames(span)
        skip = min(max(0, -(-(position - span.begin) // entry.hop)), (span.end - span.begin) // entry.hop)
        begin = span.begin + skip * entry.hop
        if begin < span.end:
            spans.append(Span(begin, span.end))
            kept.append(payload[skip * entry.frame_bytes :])
    marks = tuple(
        mark.moved(max(mark.at, position))
        for mark in entry.marks
        if mark.at > position or (mark.identity not in seen and (mark.at == position or mark.kind is MarkKind.END))
    )
    end = max([entry.end, *(mark.at for mark in marks)])
    return Entry(
        track=entry.track,
        kind=entry.kind,
        begin=min(max(entry.begin, position), end),
        end=end,
        spans=tuple(spans),
        hop=entry.hop,
        frame_bytes=entry.frame_bytes,
        data=b"".join(kept) if entry.hop else entry.data,
        marks=marks,
        marks_before=entry.marks_before + len(entry.marks) - len(marks),
        restart=entry.restart,
        carry=entry.carry,
        stamps=entry.stamps,
        trace=entry.trace,
    )


class Cursor:
    """A reader's place in one track's log: hands on each position and each mark exactly once, in order.

    Raises :class:`LogGap` from :meth:`take` where positions are missing, and ``AssertionError`` where an entry names
    another track (that would be another call's words).
    """

    def __init__(self, track: TrackKey, position: int) -> None:
        self.track = track
        self.position = position
        self._marks_here: set[tuple[str, int, MarkKind]] = set()
        self._marks_count: int | None = None
        self._last: EntryId | None = None

    @classmethod
    def after(cls, track: TrackKey, position: int, marks: tuple[Mark, ...]) -> Cursor:
        """A cursor at a log's end: ``marks`` are those that stand exactly there and are known."""
        cursor = cls(track, position)
        cursor._marks_here.update(mark.identity for mark in marks)
        return cursor

    @property
    def read_after(self) -> EntryId:
        """The id to read after: everything that may hold news has a greater one."""
        return self._last if self._last is not None else EntryId(self.position, 0)

    def take(self, entry_id: EntryId, entry: Entry) -> Entry | None:
        """The news in an entry, or None where all of it is known."""
        assert entry.track == self.track, f"an entry of {entry.track} stands in a log of {self.track}"
        self._last = entry_id
        if entry.kind is Kind.OPENING and entry.begin <= self.position:
            self._marks_count = entry.marks_before + len(entry.marks)  # else the loss of the first ones goes unseen
            return None
        if entry.begin > self.position:
            raise LogGap(f"{self.track}:{entry.kind}", self.position, entry.begin)
        if self._marks_count is not None and entry.marks_before > self._marks_count:
            raise LogGap(f"{self.track}:{entry.kind} (marks)", self._marks_count, entry.marks_before)
        self._marks_count = entry.marks_before + len(entry.marks)
        news = drop_before(entry, self.position, frozenset(self._marks_here))
        if news.end > self.position:
            self.position = news.end
            self._marks_here = set()
        elif not news.marks:
            return None
        self._marks_here.update(mark.identity for mark in news.marks if mark.at == self.position)
        return news
