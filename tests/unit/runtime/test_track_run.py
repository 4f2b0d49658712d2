"""One track under one stage: a redone stretch adds nothing to the log, and nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import Tail
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow.runtime.track_run import TrackRun

KEY = TrackKey(SessionId("s00-a"), 0, Epoch("e"))
BLOCK = 7
"""The stage's restart points lie on multiples of this: later output is made again after a restart."""


@dataclass
class Running:
    """Sum of the samples since the last block began."""

    total: int = 0


class Summing:
    """A stage whose output depends on all input since the last restart point."""

    def open(self, track: Track, at: ResumeFrom) -> Running:
        assert at.restart % BLOCK == 0
        return Running()

    def step(self, batch: Sequence[tuple[Running, Sequence[Entry]]]) -> Sequence[Step]:
        steps = []
        for state, entries in batch:
            out = b""
            begin, end = entries[0].begin, entries[-1].end
            marks = tuple(mark for entry in entries for mark in entry.marks)
            position = begin
            for entry in entries:
                for span in entry.spans:
                    for sample in entry.frames(span):
                        state.total = (state.total if position % BLOCK else 0) + sample
                        out += (state.total % 256).to_bytes(1, "little")
                        position += 1
            spans = (Span(begin, end),) if end > begin else ()
            entry = Entry(KEY, Kind.FEATURES, begin, end, spans, 1, 1, out, marks=marks)
            steps.append(Step((entry,), restart=end // BLOCK * BLOCK, position=end))
        return steps

    def close(self, state: Running) -> None:
        pass


def source(length: int, marks: Sequence[Mark]) -> list[tuple[EntryId, Entry]]:
    """One sample an entry; each mark in the entry that ends at it."""
    entries = []
    before = 0
    for position in range(length):
        here = tuple(mark for mark in marks if mark.at == position + 1)
        data = bytes([position * 31 % 256])
        entry = Entry(KEY, Kind.AUDIO, position, position + 1, (Span(position, position + 1),), 1, 1, data, marks=here)
        entries.append((EntryId(position + 1, 1), entry.__class__(**{**fields(entry), "marks_before": before})))
        before += len(here)
    return entries


def fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def fresh_tail() -> Tail:
    return Tail(EntryId(0, 1), Entry(KEY, Kind.OPENING, 0, 0), (), 0)


def tail_of(log: list[tuple[EntryId, Entry]]) -> Tail:
    if not log:
        return fresh_tail()
    entry_id, entry = log[-1]
    marks = tuple(mark for _, other in log for mark in other.marks if mark.at == entry.end)
    return Tail(entry_id, entry, marks, entry.marks_before + len(entry.marks))


@given(
    deaths=st.lists(st.integers(0, 30), max_size=4).map(sorted),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    mark_at=st.integers(1, 30),
)
def test_deaths_at_any_point_leave_the_log_as_it_would_have_been(
    deaths: list[int], chunks: list[int], mark_at: int
) -> None:
    marks = [Mark(MarkKind.FINALIZE, mark_at, "client", 0), Mark(MarkKind.END, 30, "client", 1)]
    input_log = source(30, marks)
    stage = Summing()
    undisturbed: list[tuple[EntryId, Entry]] = []
    run = TrackRun(stage, Track(KEY, 0, 16_000), fresh_tail())
    undisturbed += run.emit(stage.step([(run.state, run.take(input_log))])[0])

    log: list[tuple[EntryId, Entry]] = []
    run = TrackRun(stage, Track(KEY, 0, 16_000), fresh_tail())
    size = 0
    while not run.over:
        if deaths and len(log) and log[-1][1].end >= deaths[0]:
            deaths.pop(0)
            run = TrackRun(stage, Track(KEY, 0, 16_000), tail_of(log))
            continue
        news = [item for item in input_log if item[0] > run.input.read_after][: chunks[size % len(chunks)]]
        size += 1
        taken = run.take(news)
        if taken:
            log += run.emit(stage.step([(run.state, taken)])[0])

    assert b"".join(entry.data for _, entry in log) == b"".join(entry.data for _, entry in undisturbed)
    assert [mark for _, entry in log for mark in entry.marks] == marks
    positions = [0]
    for entry_id, entry in log[:-1]:
        assert entry.begin == positions[-1] and entry_id.end == entry.end
        positions.append(entry.end)
    assert log[-1][0] == END_ID
    counted = 0
    for _, entry in log:
        assert entry.marks_before == counted
        counted += len(entry.marks)
