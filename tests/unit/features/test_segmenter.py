"""The segmenter's rules, each against probabilities written by hand."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenoflow.base.positions import GRID, SAMPLE_RATE
from stenoflow_features.detector import FRAME
from stenoflow_features.segmenter import (
    CUT_FROM,
    LONGEST,
    OPEN,
    PRE_ROLL,
    RESET_AFTER,
    STAY,
    STEP,
    Segmentation,
    cut_threshold,
    decide,
    hang_over_samples,
    interrupt,
    leave,
)

HANG_OVER = hang_over_samples(480)


def segments(probabilities: Iterable[float], state: Segmentation) -> list[tuple[int, int]]:
    """Runs the segmenter as the channel does, with all the sound there; segments that closed."""
    found = []
    for probability in probabilities:
        state = decide(state, probability)
        if state.closing is not None:
            assert state.begin is not None
            found.append((state.begin, state.closing))
            state = leave(state)
    return found


def fresh(at: int = 0, hang_over: int = HANG_OVER) -> Segmentation:
    return Segmentation.fresh(at, hang_over)


def run(state: Segmentation, *probabilities: float) -> Segmentation:
    for probability in probabilities:
        state = decide(state, probability)
    return state


def test_opens_at_the_threshold_and_not_below() -> None:
    assert run(fresh(), OPEN - 0.001).begin is None
    assert run(fresh(), OPEN).begin == 0


def test_pre_roll_takes_in_240_ms_before_the_opening_frame_on_the_grid() -> None:
    state = run(fresh(), *[0.0] * 20, 0.9)
    assert state.begin == (20 * FRAME - PRE_ROLL) // GRID * GRID


def test_pre_roll_never_reaches_before_the_last_segments_end() -> None:
    state = run(fresh(), 0.9, *[0.0] * 15)
    assert state.closing is not None
    assert run(leave(state), 0.0, 0.9).begin == state.closing


def test_unclaimed_sound_is_never_claimed() -> None:
    state = fresh()
    for _ in range(50):
        assert decide(state, 1.0).begin == state.unclaimed
        later = decide(state, 0.0)
        assert later.unclaimed >= state.unclaimed
        state = later


def test_closes_after_the_hang_over_of_quiet_frames_only() -> None:
    quiet = HANG_OVER // FRAME
    assert run(fresh(), 0.9, *[STAY - 0.01] * (quiet - 1)).closing is None
    assert run(fresh(), 0.9, *[STAY - 0.01] * quiet).closing is not None


def test_a_middling_frame_keeps_the_segment_open() -> None:
    quiet = HANG_OVER // FRAME
    assert run(fresh(), 0.9, *[0.0] * (quiet - 1), STAY, *[0.0] * (quiet - 1)).closing is None


@pytest.mark.parametrize(("asked", "given_ms"), [(100, 240), (240, 240), (480, 480), (2000, 2000), (9000, 2000)])
def test_the_sessions_hang_over_is_kept_within_its_range(asked: int, given_ms: int) -> None:
    assert hang_over_samples(asked) == given_ms * 16


@pytest.mark.parametrize("trailing_silence_ms", [240, 500, 2000])
def test_the_sessions_hang_over_is_what_closes(trailing_silence_ms: int) -> None:
    hang_over = hang_over_samples(trailing_silence_ms)
    [(_, end)] = segments([0.9] + [0.0] * 80, fresh(hang_over=hang_over))
    assert FRAME + hang_over <= end < FRAME + hang_over + FRAME + STEP


def test_a_dip_below_the_rising_threshold_cuts_from_16_s_on() -> None:
    before = (CUT_FROM - 1) // FRAME
    state = run(fresh(), *[0.9] * before)
    assert run(state, 0.34).cut
    assert run(state, 0.36).closing is None or run(state, 0.36).cut
    assert not run(fresh(), *[0.9] * (before - 2), 0.34).cut
    assert cut_threshold(CUT_FROM) == STAY and cut_threshold(LONGEST) == 1.0


def test_certain_speech_is_cut_at_20_s_at_the_latest() -> None:
    [(begin, end), *_] = segments([1.0] * 640, fresh())
    assert LONGEST - FRAME - STEP < end - begin <= LONGEST


def test_the_piece_after_a_cut_begins_exactly_there() -> None:
    state = run(fresh(), *[1.0] * 625)
    assert state.cut and state.closing is not None
    after = leave(state)
    assert after.begin == after.at == after.reset == state.closing


def test_the_detector_starts_anew_every_8_s_of_silence_and_never_in_a_segment() -> None:
    state = run(fresh(), *[0.0] * (RESET_AFTER // FRAME))
    assert state.reset == state.at == RESET_AFTER
    state = run(fresh(), *[0.9] * (RESET_AFTER // FRAME + 1))
    assert state.reset == 0


def test_an_interruption_closes_at_once_on_the_grid() -> None:
    state = run(fresh(), 0.9, 0.9)
    after, end = interrupt(state, 2 * FRAME // GRID * GRID + GRID)
    assert end == 2 * FRAME // GRID * GRID + GRID
    assert after.begin is None and after.reset == after.floor == end


def test_an_interruption_right_after_a_cut_ends_no_empty_segment() -> None:
    after = leave(run(fresh(), *[1.0] * 625))
    assert interrupt(after, after.at)[1] is None


@given(st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), max_size=300), st.integers(0, 1000))
def test_segments_tile_lie_on_the_grid_and_last_whole_steps(probabilities: list[float], start: int) -> None:
    last = start * GRID
    for begin, end in segments([*probabilities, *[0.0] * 16], fresh(start * GRID)):
        assert last <= begin < end
        assert begin % GRID == 0 and (end - begin) % STEP == 0 and end - begin <= LONGEST
        last = end


@given(st.lists(st.floats(0, 1), max_size=100))
def test_no_end_lies_before_sound_that_may_be_written(probabilities: list[float]) -> None:
    """Frames are written up to the sound that is there: less than one frame beyond what is decided."""
    state = fresh()
    for probability in probabilities:
        there = state.at + FRAME - 1
        state = decide(state, probability)
        if state.closing is not None:
            assert state.closing > there
            state = leave(state)


def test_a_state_knows_nothing_of_time_but_its_positions() -> None:
    early = segments([0.9, *[0.0] * 20], fresh(0))
    late = segments([0.9, *[0.0] * 20], fresh(3600 * SAMPLE_RATE))
    assert [(b + 3600 * SAMPLE_RATE, e + 3600 * SAMPLE_RATE) for b, e in early] == late
