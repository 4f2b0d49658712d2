"""Feature logs of made-up calls, and how a track is run over one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bundle.loading import Bundle
from stenoflow.bus.entry import Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import Tail
from stenoflow.runtime.stage import Stage, Track
from stenoflow.runtime.track_run import TrackRun, next_id
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.stage import AcousticStage
from stenoflow_acoustic.track import AcousticTrack

HOP = 160


def key(number: int = 0) -> TrackKey:
    return TrackKey(SessionId("s00-a"), number, Epoch("e"))


def make_stage(bundle: Bundle, slots: int = 32) -> AcousticStage:
    return AcousticStage.stateful(bundle.card, OnnxEngine(bundle, slots=slots), AcousticMetrics(CollectorRegistry()))


@dataclass
class Call:
    """Sound of one track: what each frame holds, where segments are, and other marks.

    Args:
        frames: in all, of 10 ms.
        segments: begin and end, in frames.
        numbers: float16 [frames, F]; only those in segments are heard.
        marks: beside those of the segments.
    """

    frames: int
    segments: list[tuple[int, int]]
    numbers: npt.NDArray[np.float16]
    marks: list[Mark] = field(default_factory=list)
    track: TrackKey = field(default_factory=key)

    def all_marks(self) -> list[Mark]:
        """In order; at one position: the segment's end, others, the next one's begin."""
        ranked = [(mark.at, 1, mark) for mark in self.marks]
        for begin, end in self.segments:
            ranked.append((begin * HOP, 2, Mark(MarkKind.SEGMENT_BEGIN, begin * HOP, "features", begin * HOP)))
            ranked.append((end * HOP, 0, Mark(MarkKind.SEGMENT_END, end * HOP, "features", end * HOP)))
        end = self.frames * HOP
        ranked.append((end, 3, Mark(MarkKind.END, end, "client", 0)))
        return [mark for _, _, mark in sorted(ranked, key=lambda item: item[:2])]

    def log(self, chunks: Sequence[int]) -> list[tuple[EntryId, Entry]]:
        """The features log, cut into entries of so many frames, again and again; marks go with what they end."""
        entries: list[tuple[EntryId, Entry]] = []
        marks, begin, tail, count = self.all_marks(), 0, EntryId(0, 1), 0
        for number in range(self.frames):
            if begin >= self.frames:
                break
            end = min(begin + chunks[number % len(chunks)], self.frames)
            here = tuple(mark for mark in marks if begin * HOP < mark.at <= end * HOP or mark.at == begin == 0)
            spans = [(max(a, begin), min(b, end)) for a, b in self.segments if max(a, begin) < min(b, end)]
            entry = Entry(
                self.track,
                Kind.FEATURES,
                begin * HOP,
                end * HOP,
                tuple(Span(a * HOP, b * HOP) for a, b in spans),
                HOP,
                2 * self.numbers.shape[1],
                b"".join(self.numbers[a:b].tobytes() for a, b in spans),
                here,
                count,
            )
            tail = next_id(tail, entry)
            entries.append((tail, entry))
            count += len(here)
            begin = end
        return entries

    def steps(self, chunks: Sequence[int]) -> Iterator[list[tuple[EntryId, Entry]]]:
        for item in self.log(chunks):
            yield [item]


def fresh_tail(track: TrackKey) -> Tail:
    return Tail(EntryId(0, 1), Entry(track, Kind.OPENING, 0, 0), (), 0)


def tail_of(track: TrackKey, log: Sequence[tuple[EntryId, Entry]]) -> Tail:
    if not log:
        return fresh_tail(track)
    entry_id, entry = log[-1]
    marks = tuple(mark for _, other in log for mark in other.marks if mark.at == entry.end)
    return Tail(entry_id, entry, marks, entry.marks_before + len(entry.marks))


def start(stage: Stage[AcousticTrack], track: TrackKey, tail: Tail | None = None) -> TrackRun[AcousticTrack]:
    return TrackRun(stage, Track(track, 0, 16_000), tail or fresh_tail(track))


def run_alone(stage: AcousticStage, call: Call, chunks: Sequence[int]) -> list[tuple[EntryId, Entry]]:
    """The whole output log of a call that is alone."""
    run, out = start(stage, call.track), []
    for news in call.steps(chunks):
        out += run.emit(stage.step([(run.state, run.take(news))])[0])
    stage.close(run.state)
    return out


def emissions(log: Sequence[tuple[EntryId, Entry]]) -> dict[int, bytes]:
    """Every emission by its position; asserts that ranges tile and no position comes twice."""
    found: dict[int, bytes] = {}
    position = 0
    for _, entry in log:
        assert entry.begin == position and entry.kind is Kind.EMISSIONS
        position = entry.end
        for span in entry.spans:
            assert entry.begin <= span.begin < span.end <= entry.end
            frames = entry.frames(span)
            for number in range((span.end - span.begin) // entry.hop):
                at = span.begin + number * entry.hop
                assert at not in found
                found[at] = bytes(frames[number * entry.frame_bytes : (number + 1) * entry.frame_bytes])
    return found


def marks(log: Sequence[tuple[EntryId, Entry]]) -> list[Mark]:
    for _, entry in log:
        assert all(entry.begin <= mark.at <= entry.end for mark in entry.marks)
    return [mark for _, entry in log for mark in entry.marks]
