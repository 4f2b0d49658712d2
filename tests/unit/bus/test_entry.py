"""Entries, and the cursor that hands on each position and each mark exactly once (DESIGN 2, sentence 1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenoflow.base.errors import LogGap
from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import (
    Cursor,
    Entry,
    EntryId,
    Kind,
    Mark,
    MarkKind,
    Span,
    decode_entry,
    drop_before,
    encode_header,
)

TRACK = TrackKey(SessionId("s00-a"), 0, Epoch("e"))


def sound(begin: int, end: int, marks: tuple[Mark, ...] = (), marks_before: int = 0) -> Entry:
    """An audio entry whose samples are their own positions."""
    data = b"".join(position.to_bytes(2, "little") for position in range(begin, end))
    spans = (Span(begin, end),) if end > begin else ()
    return Entry(
        TRACK, Kind.AUDIO, begin, end, spans, 1, 2, data, marks=marks, marks_before=marks_before, restart=begin
    )


def test_an_entry_survives_its_encoding() -> None:
    entry = sound(3, 9, (Mark(MarkKind.FINALIZE, 5, "client", 1, {"why": "key"}),), marks_before=4)
    assert decode_entry(encode_header(entry), entry.data) == entry


def test_frames_before_the_position_are_dropped_and_the_rest_is_untouched() -> None:
    entry = Entry(TRACK, Kind.FEATURES, 0, 1600, (Span(160, 480), Span(800, 1280)), 160, 1, b"abcde")
    rest = drop_before(entry, 960)
    assert (rest.begin, rest.end, rest.spans, rest.data) == (960, 1600, (Span(960, 1280),), b"de")


def test_a_gap_is_an_error_and_not_silence() -> None:
    cursor = Cursor(TRACK, 10)
    with pytest.raises(LogGap) as caught:
        cursor.take(EntryId(20, 1), sound(11, 20))
    assert (caught.value.expected, caught.value.begin) == (10, 11)


def test_a_lost_mark_is_a_gap_although_positions_tile() -> None:
    cursor = Cursor(TRACK, 0)
    cursor.take(EntryId(5, 1), sound(0, 5))
    with pytest.raises(LogGap):
        cursor.take(EntryId(9, 1), sound(5, 9, marks_before=1))


def test_a_mark_that_is_sent_again_is_recognised() -> None:
    cursor = Cursor(TRACK, 0)
    mark = Mark(MarkKind.FINALIZE, 5, "client", 0)
    first = cursor.take(EntryId(5, 1), sound(0, 5, (mark,)))
    again = cursor.take(EntryId(5, 2), sound(5, 5, (mark,)))
    assert first is not None and first.marks == (mark,)
    assert again is None


def test_another_calls_entry_is_never_taken() -> None:
    cursor = Cursor(TrackKey(SessionId("s00-b"), 0, Epoch("e")), 0)
    with pytest.raises(AssertionError, match="stands in a log of"):
        cursor.take(EntryId(5, 1), sound(0, 5))


@given(st.data())
def test_two_writers_with_different_chunking_give_each_sample_and_mark_once(data: st.DataObject) -> None:
    """Both write the same stretch in their own pieces; Redis lets an entry in when its id is greater than the last."""
    length = 40
    mark_at = data.draw(st.integers(0, length))
    mark = Mark(MarkKind.FINALIZE, mark_at, "client", 0)
    cuts = [sorted({length, *data.draw(st.sets(st.integers(1, length - 1), max_size=6))}) for _ in range(2)]
    writers = []
    for ends in cuts:
        begin = 0
        entries = []
        for end in ends:
            has_mark = begin <= mark_at <= end and not any(entry.marks for entry in entries)
            before = sum(len(entry.marks) for entry in entries)
            entries.append(sound(begin, end, (mark,) if has_mark else (), before))
            begin = end
        writers.append(entries)
    log: list[tuple[EntryId, Entry]] = []
    turns = data.draw(st.permutations([0] * len(writers[0]) + [1] * len(writers[1])))
    for turn in turns:
        entry = writers[turn].pop(0)
        if not log or EntryId(entry.end, 1) > log[-1][0]:
            log.append((EntryId(entry.end, 1), entry))
    cursor = Cursor(TRACK, 0)
    seen = b""
    marks = []
    for entry_id, entry in log:
        news = cursor.take(entry_id, entry)
        if news is not None:
            seen += news.data
            marks += list(news.marks)
    assert seen == sound(0, length).data
    # A mark at the very end of a refused entry is its writer's to send again (sentence 2); it is never doubled.
    assert len(marks) <= 1
