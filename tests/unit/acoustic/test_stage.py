"""The stage: the same emissions whatever the chunking, the company, or the deaths on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.acoustic.calls import (
    HOP,
    Call,
    emissions,
    key,
    make_stage,
    marks,
    run_alone,
    start,
    tail_of,
)
from tests.unit.acoustic.models import BINS, QUIET, make_bundle

from stenoflow.bundle.loading import load_bundle
from stenoflow.bus.entry import Entry, EntryId, Mark, MarkKind, Span, drop_before
from stenoflow_acoustic.engine import NoFreeSlotError
from stenoflow_acoustic.stage import AcousticStage

CHUNKS = st.lists(st.integers(1, 70), min_size=1, max_size=12)


def whole_numbers(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 9, (frames, BINS)).astype(np.float16)


def eventful(seed: int = 0, number: int = 0) -> Call:
    """Two segments that touch (a forced cut), one of odd length, one too short for an emission, marks in between."""
    quality = Mark(MarkKind.QUALITY, 120 * HOP, "features", 1, {"snr": 10})
    configure = Mark(MarkKind.CONFIGURE, 121 * HOP, "client", 2)
    finalize = Mark(MarkKind.FINALIZE, 263 * HOP, "client", 3)
    segments = [(13, 110), (110, 173), (200, 263), (270, 271), (290, 300)]
    return Call(300, segments, whole_numbers(300, seed), [quality, configure, finalize], key(number))


def numbered(frames: int, segments: list[tuple[int, int]]) -> Call:
    """Every frame holds its own number."""
    return Call(frames, segments, np.repeat(np.arange(frames, dtype=np.float16)[:, None], BINS, axis=1))


@pytest.fixture(scope="module")
def mixing(tmp_path_factory: pytest.TempPathFactory) -> AcousticStage:
    return make_stage(load_bundle(make_bundle(tmp_path_factory.mktemp("mixing"))), slots=41)


@pytest.fixture(scope="module")
def whole(mixing: AcousticStage) -> list[tuple[EntryId, Entry]]:
    return run_alone(mixing, eventful(), [16])


@settings(max_examples=40, deadline=None)
@given(CHUNKS)
def test_chunking_changes_nothing(mixing: AcousticStage, whole: list[tuple[EntryId, Entry]], chunks: list[int]) -> None:
    found = run_alone(mixing, eventful(), chunks)
    assert emissions(found) == emissions(whole)
    assert marks(found) == marks(whole) == eventful().all_marks()


@settings(max_examples=15, deadline=None)
@given(st.lists(CHUNKS, min_size=2, max_size=40))
def test_company_in_the_batch_changes_nothing(mixing: AcousticStage, chunks: list[list[int]]) -> None:
    stage = mixing
    calls = [eventful(seed, seed) for seed in range(len(chunks))]
    runs = [start(stage, call.track) for call in calls]
    news = [list(call.log(own)) for call, own in zip(calls, chunks, strict=True)]
    logs: list[list[tuple[EntryId, Entry]]] = [[] for _ in calls]
    while any(news):
        batch = [(number, runs[number].take([own.pop(0)])) for number, own in enumerate(news) if own]
        steps = stage.step([(runs[number].state, fresh) for number, fresh in batch])
        for (number, _), step in zip(batch, steps, strict=True):
            logs[number] += runs[number].emit(step)
    for call, log in zip(calls, logs, strict=True):
        assert emissions(log) == emissions(run_alone(stage, call, [16]))
        assert all(entry.track == call.track for _, entry in log)
    for run in runs:
        stage.close(run.state)


@settings(max_examples=15, deadline=None)
@given(CHUNKS, CHUNKS)
def test_a_death_at_any_entry_changes_nothing(
    mixing: AcousticStage, whole: list[tuple[EntryId, Entry]], before: list[int], after: list[int]
) -> None:
    call = eventful()
    first = run_alone(mixing, call, before)
    for written in range(len(first)):
        log = first[:written]
        run = start(mixing, call.track, tail_of(call.track, log))
        restart = log[-1][1].restart if log else 0
        for entry_id, entry in call.log(after):
            if entry.end < restart:
                continue  # trimmed (sentence 5)
            fresh = run.take([(entry_id, entry)])
            if fresh:
                log = log + run.emit(mixing.step([(run.state, fresh)])[0])
        mixing.close(run.state)
        assert emissions(log) == emissions(whole)
        assert marks(log) == marks(whole)
        counts = [entry.marks_before for _, entry in log]
        assert counts == [sum(len(other.marks) for _, other in log[:number]) for number in range(len(log))]


@settings(max_examples=10, deadline=None)
@given(CHUNKS, st.lists(st.integers(0, 40), max_size=12))
def test_deaths_again_and_again_change_nothing(
    mixing: AcousticStage, whole: list[tuple[EntryId, Entry]], chunks: list[int], lives: list[int]
) -> None:
    call, log = eventful(), []
    for life in [*lives, 1000]:
        if log and log[-1][1].ends:
            break
        run = start(mixing, call.track, tail_of(call.track, log))
        for news in [item for item in call.log(chunks) if item[0] > run.input.read_after][:life]:
            if fresh := run.take([news]):
                log += run.emit(mixing.step([(run.state, fresh)])[0])
        mixing.close(run.state)
    assert emissions(log) == emissions(whole)
    assert marks(log) == marks(whole)


@pytest.mark.parametrize("look_ahead_ms", [0, 40, 400])
@pytest.mark.parametrize("chunks", [[1], [7], [16], [400]])
def test_positions_are_those_of_the_sound(tmp_path: Path, look_ahead_ms: int, chunks: list[int]) -> None:
    stage = make_stage(load_bundle(make_bundle(tmp_path, "delaying", look_ahead_ms)))
    segments = [(3, 90), (90, 131), (140, 142), (150, 151), (160, 200)]
    found = emissions(run_alone(stage, numbered(200, segments), chunks))
    heard = {at // HOP: np.frombuffer(data, np.float16)[0] for at, data in found.items()}
    assert heard == {frame: frame for begin, end in segments for frame in range(begin, end - 1, 2)}


def test_a_segment_is_flushed_to_its_end_before_its_mark_passes(mixing: AcousticStage) -> None:
    call = Call(100, [(10, 50)], whole_numbers(100, 1))
    run = start(mixing, call.track)
    log = call.log([50])
    (entry,) = mixing.step([(run.state, run.take(log[:1]))])[0].entries
    mixing.close(run.state)
    assert [span.end for span in entry.spans] == [50 * HOP] and entry.end == 50 * HOP
    assert [mark.kind for mark in entry.marks] == [MarkKind.SEGMENT_BEGIN, MarkKind.SEGMENT_END]


def test_silence_passes_at_once_and_costs_no_run(mixing: AcousticStage) -> None:
    call = Call(32, [], whole_numbers(32, 1))
    before = mixing._metrics.model_runs._value.get()
    log = run_alone(mixing, call, [16])
    assert [(entry.begin, entry.end, entry.restart) for _, entry in log] == [
        (0, 16 * HOP, 16 * HOP),
        (16 * HOP, 32 * HOP, 32 * HOP),
    ]
    assert mixing._metrics.model_runs._value.get() == before


def test_no_entry_while_only_look_ahead_came_and_the_restart_stays(mixing: AcousticStage) -> None:
    call = Call(200, [(16, 190)], whole_numbers(200, 1))
    run = start(mixing, call.track)
    seen = []
    for news in call.steps([16]):
        step = mixing.step([(run.state, run.take(news))])[0]
        run.emit(step)
        seen.append((len(step.entries), step.restart // HOP, step.position // HOP))
    mixing.close(run.state)
    # 400 ms of look-ahead: nothing in the second and third chunk, 8 frames in the fourth.
    assert seen[:5] == [(1, 16, 16), (0, 16, 16), (0, 16, 16), (1, 16, 24), (1, 16, 40)]
    assert seen[-1] == (1, 200, 200)


def test_a_mark_inside_a_segment_waits_for_its_sound(mixing: AcousticStage) -> None:
    call = eventful()
    for _, entry in run_alone(mixing, call, [16]):
        assert all(entry.begin <= mark.at <= entry.end for mark in entry.marks)
        if any(mark.kind is MarkKind.QUALITY for mark in entry.marks):
            assert entry.end >= 120 * HOP


@pytest.mark.parametrize("kind", [MarkKind.FINALIZE, MarkKind.PAUSE, MarkKind.END])
def test_a_closing_mark_flushes_even_where_the_segment_has_no_end(mixing: AcousticStage, kind: MarkKind) -> None:
    call = Call(60, [(10, 60)], whole_numbers(60, 1), [])
    log = call.log([60])
    entry = log[0][1]
    closing = Mark(kind, entry.end, "client", 9)
    bare = Entry(**{**_fields(entry), "marks": (entry.marks[0], closing)})
    run = start(mixing, call.track)
    (made,) = mixing.step([(run.state, run.take([(log[0][0], bare)]))])[0].entries
    mixing.close(run.state)
    assert made.spans[-1].end == 60 * HOP and made.marks[-1] == closing and made.restart == 60 * HOP


def test_a_hole_in_the_frames_ends_the_segment_and_loses_nothing(mixing: AcousticStage) -> None:
    call = Call(60, [(10, 40)], whole_numbers(60, 1))
    log = call.log([60])
    bare = Entry(**{**_fields(log[0][1]), "marks": ()})  # no marks at all
    run = start(mixing, call.track)
    (made,) = mixing.step([(run.state, run.take([(log[0][0], bare)]))])[0].entries
    mixing.close(run.state)
    assert [(span.begin, span.end) for span in made.spans] == [(10 * HOP, 40 * HOP)] and made.end == 60 * HOP
    assert made.data == b"".join(emissions(run_alone(mixing, call, [16])).values())


def test_frames_that_are_no_numbers_are_heard_as_quiet_and_counted(mixing: AcousticStage) -> None:
    poisoned, quiet = eventful(), eventful()
    for frame, value in [(20, np.nan), (21, np.inf), (22, -np.inf), (110, np.nan)]:
        poisoned.numbers[frame, 2] = value
        quiet.numbers[frame] = QUIET
    before = mixing._metrics.replaced_frames._value.get()
    for chunks in ([16], [5], [300]):
        assert emissions(run_alone(mixing, poisoned, chunks)) == emissions(run_alone(mixing, quiet, chunks))
    assert mixing._metrics.replaced_frames._value.get() - before == 3 * 4


def test_a_slot_that_is_used_again_remembers_nothing(tmp_path: Path) -> None:
    stage = make_stage(load_bundle(make_bundle(tmp_path)), slots=1)
    first = run_alone(stage, eventful(1), [16])
    half = start(stage, key())
    stage.step([(half.state, half.take(eventful(2).log([16])[:6]))])
    stage.close(half.state)
    assert emissions(run_alone(stage, eventful(1), [16])) == emissions(first)


def test_more_tracks_than_places_are_refused(tmp_path: Path) -> None:
    stage = make_stage(load_bundle(make_bundle(tmp_path)), slots=1)
    held = start(stage, key())
    with pytest.raises(NoFreeSlotError, match="raise places"):
        start(stage, key(1))
    stage.close(held.state)
    start(stage, key(1))


def test_features_of_another_bundle_are_a_bug(mixing: AcousticStage) -> None:
    call = Call(30, [(10, 30)], np.zeros((30, BINS + 1), np.float16))
    run = start(mixing, call.track)
    with pytest.raises(AssertionError, match="another bundle"):
        mixing.step([(run.state, run.take(call.log([30])))])
    mixing.close(run.state)


def test_what_a_resumed_track_makes_again_is_cut_on_whole_emissions(whole: list[tuple[EntryId, Entry]]) -> None:
    for _, entry in whole:
        for span in entry.spans:
            assert (span.end - span.begin) % entry.hop == 0
            assert drop_before(entry, span.end).spans == tuple(s for s in entry.spans if s.begin >= span.end)


def _fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


def test_a_begin_without_an_end_before_it_starts_afresh(mixing: AcousticStage) -> None:
    call = Call(60, [(10, 30), (30, 60)], whole_numbers(60, 1))
    entry_id, entry = call.log([60])[0]
    ends = tuple(mark for mark in entry.marks if mark.kind is not MarkKind.SEGMENT_END)
    joined = Entry(**{**_fields(entry), "marks": ends, "spans": (Span(10 * HOP, 60 * HOP),)})
    run = start(mixing, call.track)
    log = run.emit(mixing.step([(run.state, run.take([(entry_id, joined)]))])[0])
    mixing.close(run.state)
    assert emissions(log) == emissions(run_alone(mixing, call, [16]))
