"""Emission logs of made-up calls, and how the decoder is run over one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.unit.decoder.small import SYMBOLS, Frames, silence, speech

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import Tail
from stenoflow.runtime.stage import Step, Track
from stenoflow.runtime.track_run import TrackRun, next_id
from stenoflow_decoder.stage import DecoderStage, DecoderState

HOP = 320
KEY = TrackKey(SessionId("s00-a"), 1, Epoch("e"))
Log = list[tuple[EntryId, Entry]]


@dataclass
class Call:
    """What is said, piece after piece."""

    pieces: list[tuple[int, Frames | None]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    end: int = 0

    def quiet(self, samples: int) -> Call:
        self.pieces.append((self.end, None))
        self.end += samples
        return self

    def say(self, text: str, seed: int = 0, doubt: float = 0.7, trailing: int = 10) -> Call:
        return self.segment(np.concatenate([speech(text, seed, doubt), silence(trailing)]))

    def segment(self, frames: Frames, remainder: int = 0) -> Call:
        """A segment of speech; ``remainder`` samples at its end have no frame."""
        self.mark(MarkKind.SEGMENT_BEGIN, "features")
        self.pieces.append((self.end, frames))
        self.end += len(frames) * HOP + remainder
        return self.mark(MarkKind.SEGMENT_END, "features")

    def mark(self, kind: MarkKind, who: str = "client", **fields: Any) -> Call:
        return self.mark_at(self.end, kind, who, **fields)

    def mark_at(self, at: int, kind: MarkKind, who: str = "client", **fields: Any) -> Call:
        self.marks.append(Mark(kind, at, who, len(self.marks), fields))
        return self

    def log(self, chunks: Sequence[int]) -> Log:
        """The emissions log in entries of so many 20 ms, again and again; marks go with what ends there."""
        log: Log = []
        begin, tail, count = 0, EntryId(0, 1), 0
        marks = sorted(self.marks, key=lambda mark: mark.at)
        number = 0
        while begin < self.end or not log:
            end = min(self.end, begin + chunks[number % len(chunks)] * HOP)
            number += 1
            spans: list[Span] = []
            data: list[bytes] = []
            for at, frames in self.pieces:
                if frames is None:
                    continue
                first = max(0, -(-(begin - at) // HOP))
                last = min(len(frames), (end - at) // HOP)
                if first < last:
                    spans.append(Span(at + first * HOP, at + last * HOP))
                    data.append(frames[first:last].astype(np.float16).tobytes())
                if at < end < at + len(frames) * HOP and (end - at) % HOP:
                    end = at + (end - at) // HOP * HOP  # writers cut on whole frames
            here = tuple(mark for mark in marks if begin < mark.at <= end or mark.at == begin == 0)
            entry = Entry(
                KEY, Kind.EMISSIONS, begin, end, tuple(spans), HOP, 2 * len(SYMBOLS), b"".join(data), here, count
            )
            tail = next_id(tail, entry)
            log.append((tail, entry))
            count += len(here)
            begin = end
        return log


def fresh_tail(base: int = 0) -> Tail:
    return Tail(EntryId(base, 1), Entry(KEY, Kind.OPENING, base, base, restart=base), (), 0)


def tail_of(log: Log) -> Tail:
    """The tail of a log of finals."""
    if not log:
        return fresh_tail()
    entry_id, entry = log[-1]
    marks = tuple(mark for _, other in log for mark in other.marks if mark.at == entry.end)
    return Tail(entry_id, entry, marks, entry.marks_before + len(entry.marks))


def start(stage: DecoderStage, tail: Tail | None = None, **settings: Any) -> TrackRun[DecoderState]:
    return TrackRun(stage, Track(KEY, 0, 16_000, settings), tail or fresh_tail())


def run(
    stage: DecoderStage, news: Log, tail: Tail | None = None, **settings: Any
) -> tuple[Log, list[Step], TrackRun[DecoderState]]:
    """The finals that a worker makes of a log from a tail on, one entry at a time."""
    track, finals, steps = start(stage, tail, **settings), [], []
    for item in news:
        step = stage.step([(track.state, track.take([item]))])[0]
        assert step.restart == track.state.utterance.begin <= step.position
        steps.append(step)
        finals += track.emit(step)
    return finals, steps, track


def said(log: Log) -> list[dict[str, Any]]:
    """The captions of a log of finals."""
    return [json.loads(entry.data) for _, entry in log]


def essence(log: Log) -> list[tuple[Any, ...]]:
    """What must not depend on chunking or on deaths."""
    return [
        (str(entry_id), e.begin, e.end, e.data, e.marks, e.marks_before, e.restart, sorted(e.carry.items()))
        for entry_id, e in log
    ]
