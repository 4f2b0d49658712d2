"""The stage: the same log whatever the chunking, the company, or the deaths on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.features.calls import (
    Log,
    Worker,
    Written,
    at_rate,
    audio_log,
    client_mark,
    conversation,
    milliseconds,
    sample_call,
    stage,
    undisturbed,
)
from tests.unit.features.sound import clip, cuts, noise

from stenoflow.base.positions import CLIENT_RATES, GRID, SAMPLE_RATE
from stenoflow.bundle.card import KALDI
from stenoflow.bus.entry import Mark, MarkKind, decode_entry, encode_header
from stenoflow_features.filterbank import LOOK_BACK, Filterbank, windows
from stenoflow_features.resample import Resampler
from stenoflow_features.segmenter import LONGEST, PRE_ROLL, STEP


def eventful(rate: int) -> list[Mark]:
    """Marks in speech, in silence, twice at one place, and the end."""

    def at(ms: int) -> int:
        return milliseconds(ms, rate)

    length = len(conversation(rate))
    return [
        client_mark(MarkKind.CONFIGURE, at(700), 0, endpointing={"trailing_silence_ms": 240}),
        client_mark(MarkKind.FINALIZE, at(2200), 1),
        client_mark(MarkKind.CONFIGURE, at(2200), 2, boost=[]),
        client_mark(MarkKind.FINALIZE, at(4800), 3),
        client_mark(MarkKind.CONFIGURE, at(5630), 4, endpointing={"trailing_silence_ms": 800}),
        client_mark(MarkKind.PAUSE, at(11000), 5),
        client_mark(MarkKind.FINALIZE, at(18640), 6),
        client_mark(MarkKind.END, length, 7),
    ]


def whole(rate: int, marks: list[Mark] | None = None) -> Written:
    samples = conversation(rate)
    return Written.of(undisturbed(audio_log(samples, [(0, len(samples))], marks or eventful(rate)), rate))


# ------------------------------------------------------------------ what is found


def test_speech_lies_inside_segments_and_silence_costs_nothing() -> None:
    written = whole(16_000, [client_mark(MarkKind.END, len(conversation(16_000)), 0)])
    assert written.end == len(conversation(16_000))
    assert 3 <= len(written.segments) <= 6
    assert written.spans == written.segments or all(
        any(b <= begin and end <= e for b, e in written.spans) for begin, end in written.segments
    )
    speech = sum(end - begin for begin, end in written.segments)
    assert len(written.data) == speech // GRID * KALDI.bins * 2
    assert speech < 0.6 * written.end


def test_segments_tile_on_the_grid_in_whole_steps() -> None:
    last = 0
    *segments, (newest, _) = whole(16_000, [client_mark(MarkKind.END, len(conversation(16_000)), 0)]).segments
    for begin, end in segments:  # the last one ends with the track
        assert begin >= last and begin % GRID == 0 and (end - begin) % STEP == 0
        last = end
    assert newest >= last and newest % GRID == 0


def test_frames_are_those_of_the_whole_sound() -> None:
    """Window memory before a segment's begin is real sound, so its first frames are right too."""
    sound = np.concatenate([np.zeros(LOOK_BACK, np.float32), conversation(16_000).astype(np.float32)])
    frames = Filterbank()(windows(sound)).astype(np.float16)
    written = whole(16_000)
    expected = [frames[begin // GRID : end // GRID] for begin, end in written.spans]
    assert np.array_equal(np.frombuffer(written.data, np.float16).reshape(-1, KALDI.bins), np.concatenate(expected))


PATIENT = {"endpointing": {"trailing_silence_ms": 2000}}
"""Settings under which pauses between sentences do not end a segment, so that its length does."""


def monologue() -> Log:
    """39 s of reading without a pause of 2 s."""
    speech = np.concatenate([clip(name) for name in ("ls-1580-141083-0002", "ls-1188-133604-0010", "cv-40199565") * 2])
    speech = np.concatenate([speech, speech[: 4 * SAMPLE_RATE]])
    return audio_log(speech, cuts(len(speech), [16_000]), [client_mark(MarkKind.END, len(speech), 0)])


def test_long_speech_is_cut_without_a_gap_or_an_overlap() -> None:
    segments = Written.of(undisturbed(monologue(), 16_000, settings=PATIENT)).segments
    lengths = [end - begin for begin, end in segments]
    assert max(lengths) <= LONGEST
    assert any(
        first[1] == second[0] and first[1] - first[0] > 16 * SAMPLE_RATE for first, second in pairwise(segments)
    ), segments


@pytest.mark.parametrize("rate", CLIENT_RATES)
def test_every_rate_finds_the_same_speech(rate: int) -> None:
    end = client_mark(MarkKind.END, len(conversation(rate)), 0)
    reference = whole(16_000, [client_mark(MarkKind.END, len(conversation(16_000)), 0)])
    written = whole(rate, [end])
    assert written.end == len(conversation(rate)) // (rate // 100) * GRID
    speech = [sum(e - b for b, e in one.segments) for one in (written, reference)]
    assert abs(speech[0] - speech[1]) < 0.15 * speech[1]


def test_pure_silence_gives_empty_entries_that_lag_by_the_pre_roll() -> None:
    log = audio_log(np.zeros(48_000, np.int16), cuts(48_000, [2560]))
    output = undisturbed(log, 16_000)
    assert all(not entry.spans and not entry.data for _, entry in output)
    assert 48_000 - PRE_ROLL - 512 - GRID < output[-1][1].end <= 48_000 - PRE_ROLL


def test_open_speech_is_written_up_to_the_last_whole_frame() -> None:
    speech = clip("ls-1188-133604-0010")[:32_000]
    output = undisturbed(audio_log(speech, cuts(len(speech), [1280])), 16_000)
    assert output[-1][1].end == 32_000


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("track", [0, 1])
def test_no_word_of_the_sample_call_lies_outside_a_segment(rate: int, track: int) -> None:
    sound, turns = sample_call(track)
    sent = at_rate(sound, rate)
    log = audio_log(sent, cuts(len(sent), [rate // 5]), [client_mark(MarkKind.END, len(sent), 0)])
    segments = Written.of(undisturbed(log, rate)).segments
    assert turns
    for begin, end in turns:
        # The readers' turns are marked by clip, with a little silence of its own at either end.
        inside = sum(max(0, min(e, end) - max(b, begin)) for b, e in segments)
        assert inside > 0.9 * (end - begin), (begin, end, segments)
    assert sum(e - b for b, e in segments) < 0.75 * len(sound)


# ------------------------------------------------------------------ marks


def test_marks_pass_in_order_each_once() -> None:
    written = whole(48_000)
    foreign = [mark.number for mark in written.marks if mark.who == "client"]
    assert foreign == list(range(8))
    assert [mark.at for mark in written.marks] == sorted(mark.at for mark in written.marks)
    assert len({mark.identity for mark in written.marks}) == len(written.marks)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_closing_mark_ends_the_segment_just_before_it(rate: int) -> None:
    written = whole(rate)
    at = next(index for index, mark in enumerate(written.marks) if mark.who == "client" and mark.number == 1)
    before, mark = written.marks[at - 1], written.marks[at]
    assert before.kind is MarkKind.SEGMENT_END and before.at == mark.at == 2200 * 16
    assert (before.who, before.number) == ("features", before.at)


@pytest.mark.parametrize("kind", [MarkKind.FINALIZE, MarkKind.PAUSE, MarkKind.END])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_last_sound_before_a_closing_mark_is_not_lost(kind: MarkKind, rate: int) -> None:
    """PAINS 26: the end of the last word must come out although no sound follows."""
    speech = at_rate(clip("ls-1188-133604-0010")[:32_000], rate)
    log = audio_log(speech, cuts(len(speech), [rate // 7]), [client_mark(kind, len(speech), 0)])
    written = Written.of(undisturbed(log, rate))
    assert written.end == 32_000 and written.spans[-1][1] == 32_000
    assert written.marks[-1].kind is kind


def test_a_mark_off_the_grid_lies_on_the_grid_before_it() -> None:
    speech = clip("ls-1188-133604-0010")[:32_000]
    log = audio_log(speech, [(0, 20_007), (20_007, 32_000)], [client_mark(MarkKind.FINALIZE, 20_007, 1)])
    written = Written.of(undisturbed(log, 16_000))
    [mark] = [mark for mark in written.marks if mark.kind is MarkKind.FINALIZE]
    assert mark.at == 20_000 and written.end == 32_000


def test_the_sessions_hang_over_holds_until_a_configure_mark() -> None:
    sound = np.concatenate([clip("an4-an393-mjwl-b"), noise(40_000, scale=10)] * 2)
    change = client_mark(MarkKind.CONFIGURE, 60_000, 0, endpointing={"trailing_silence_ms": 240})
    marks = [change, client_mark(MarkKind.END, len(sound), 1)]
    slow, fast = [
        Written.of(undisturbed(audio_log(sound, cuts(len(sound), [2560]), marks), 16_000, settings=given))
        for given in ({"endpointing": {"trailing_silence_ms": 1000}}, {"endpointing": {"trailing_silence_ms": 240}})
    ]
    assert slow.segments[0][1] - fast.segments[0][1] >= 11_000
    assert slow.segments[-1] == fast.segments[-1]


# ------------------------------------------------------------------ chunking, company, death


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from(CLIENT_RATES),
    sizes=st.lists(st.integers(1, 40_000), min_size=1, max_size=5),
    entries=st.integers(1, 4),
)
def test_any_chunking_writes_the_same(rate: int, sizes: list[int], entries: int) -> None:
    samples = conversation(rate)
    log = audio_log(samples, cuts(len(samples), [*sizes, 5_000]), eventful(rate))
    assert Written.of(undisturbed(log, rate, entries)) == whole(rate)


def test_company_in_a_step_changes_nothing() -> None:
    rates = (16_000, 8_000, 44_100)
    logs = [audio_log(conversation(rate), cuts(len(conversation(rate)), [rate // 5]), eventful(rate)) for rate in rates]
    workers = [Worker(rate, []) for rate in rates]
    for step in range(max(len(log) for log in logs)):
        ready = [
            (w, fresh) for w, log in zip(workers, logs, strict=True) if (fresh := w.run.take(log[step : step + 1]))
        ]
        for (worker, _), made in zip(ready, stage().step([(w.run.state, fresh) for w, fresh in ready]), strict=True):
            worker.output += worker.run.emit(made)
    for rate, worker in zip(rates, workers, strict=True):
        assert Written.of(worker.output) == whole(rate)


def dying(log: Log, rate: int, entries: int = 1, base: int = 0, settings: dict[str, Any] | None = None) -> Log:
    """The features log of workers that each die after one entry; the input is trimmed to each one's restart point."""
    output: Log = []
    while True:
        worker, before = Worker(rate, output, base, settings), len(output)
        while len(output) == before:
            if not worker.read(log, entries):
                return output
        # What travels is bytes: nothing may hang on objects that only this process has.
        entry_id, entry = output[-1]
        output[-1] = (entry_id, decode_entry(encode_header(entry), entry.data))


@pytest.mark.parametrize(
    ("rate", "sizes_ms"),
    [(16_000, [320]), (8_000, [640, 10]), (44_100, [80, 1700]), (48_000, [330]), (24_000, [510])],
)
def test_a_worker_that_dies_at_every_entry_leaves_the_same_log(rate: int, sizes_ms: list[int]) -> None:
    samples = conversation(rate)
    pieces = cuts(len(samples), [milliseconds(size, rate) for size in sizes_ms])
    assert Written.of(dying(audio_log(samples, pieces, eventful(rate)), rate)) == whole(rate)


def test_settings_made_just_before_a_death_come_into_force() -> None:
    """A mark may be passed on before the frame that it governs is decided: here by the last 10 ms of an entry."""
    sound = np.concatenate([clip("an4-an393-mjwl-b"), noise(40_000, scale=10)])
    change = client_mark(MarkKind.CONFIGURE, 5 * 5_280 - GRID, 0, endpointing={"trailing_silence_ms": 2000})
    log = audio_log(sound, cuts(len(sound), [5_280]), [change, client_mark(MarkKind.END, len(sound), 1)])
    assert Written.of(dying(log, 16_000)) == Written.of(undisturbed(log, 16_000))


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_dying_after_an_interruption_on_a_whole_second_keeps_the_windows_memory(rate: int) -> None:
    """Then reset and second begin at one place, and the next frame reaches 15 ms before both."""
    speech = at_rate(np.concatenate([clip("ls-1188-133604-0010"), clip("ls-1580-141083-0002")]), rate)
    marks = [client_mark(MarkKind.FINALIZE, second * rate, second) for second in range(1, 12)]
    log = audio_log(speech, cuts(len(speech), [rate]), [*marks, client_mark(MarkKind.END, len(speech), 12)])
    assert Written.of(dying(log, rate)) == Written.of(undisturbed(log, rate))


def test_dying_through_forced_cuts_leaves_the_same_log() -> None:
    log = monologue()
    assert Written.of(dying(log, 16_000, settings=PATIENT)) == Written.of(undisturbed(log, 16_000, settings=PATIENT))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_epoch_that_begins_later_counts_on(rate: int) -> None:
    """Positions are absolute; the second in which the epoch begins gets no quality mark."""
    base, samples = 163 * GRID, conversation(rate)[: rate * 6]
    start = milliseconds(1630, rate)
    log = audio_log(
        samples, cuts(len(samples), [rate // 4]), [client_mark(MarkKind.END, start + len(samples), 1)], start
    )
    written = Written.of(undisturbed(log, rate, base=base), base)
    assert written.end == base + len(samples) // (rate // 100) * GRID
    assert next(mark.at for mark in written.marks if mark.kind is MarkKind.QUALITY) == 3 * SAMPLE_RATE
    assert Written.of(dying(log, rate, base=base), base) == written


@pytest.mark.parametrize("rate", CLIENT_RATES)
def test_restart_points_only_grow_and_keep_the_replay_short(rate: int) -> None:
    samples = conversation(rate)
    output = undisturbed(audio_log(samples, cuts(len(samples), [rate // 5]), eventful(rate)), rate)
    restarts = [entry.restart for _, entry in output]
    assert restarts == sorted(restarts)
    assert all(restart % (rate // 100) == 0 for restart in restarts)
    replays = [entry.end / SAMPLE_RATE - entry.restart / rate for _, entry in output]
    assert max(replays) < 8 + 1 + PRE_ROLL / SAMPLE_RATE + 5  # a reset in silence, or the begin of a segment


def test_what_a_fresh_worker_adopts_is_small() -> None:
    output = undisturbed(audio_log(conversation(8_000), cuts(len(conversation(8_000)), [1280]), eventful(8_000)), 8_000)
    assert max(len(encode_header(entry)) - sum(60 + 250 for _ in entry.marks) for _, entry in output) < 400


def test_a_taker_adopts_the_logs_segment_even_where_its_own_detector_disagrees() -> None:
    """DESIGN 2, sentence 3: what the log holds is the truth."""
    speech = clip("ls-1188-133604-0010")[:48_000]
    log = audio_log(speech, cuts(len(speech), [2560]), [client_mark(MarkKind.END, len(speech), 0)])
    output: Log = []
    worker = Worker(16_000, output)
    while worker.read(log) and not any(m.kind is MarkKind.SEGMENT_BEGIN for _, e in output for m in e.marks):
        pass
    deaf = audio_log(np.zeros_like(speech), cuts(len(speech), [2560]), [client_mark(MarkKind.END, len(speech), 0)])
    taker = Worker(16_000, output)
    while taker.read(deaf):
        pass
    written = Written.of(output)
    assert len(written.segments) == 1 and written.segments[0] == written.spans[0]


def test_no_samples_are_wanted_from_before_the_restart_point() -> None:
    """The memory that the restart point leaves room for is the filter's own."""
    assert all(Resampler.memory_at(rate) <= rate // 100 for rate in CLIENT_RATES)
