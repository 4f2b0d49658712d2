"""The channel: what it asks the detector, with a detector that answers as the test wants."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.features.calls import KEY, audio_log, client_mark
from tests.unit.features.sound import cuts, noise

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Entry, Kind, Mark, MarkKind
from stenoflow.runtime.stage import ResumeFrom, Track
from stenoflow_features.channel import Channel, Output
from stenoflow_features.detector import CONTEXT, FRAME, FRESH, Heard, Window
from stenoflow_features.segmenter import RESET_AFTER

USED = np.ones_like(FRESH)
"""A memory that is not fresh."""


def channel() -> Channel:
    return Channel(Track(KEY, 0, SAMPLE_RATE), ResumeFrom(Entry(KEY, Kind.OPENING, 0, 0)))


def listen(
    sound: NDArray[np.int16],
    probability: Callable[[int], float],
    marks: list[Mark] | None = None,
    sizes: list[int] | None = None,
) -> tuple[list[Window], list[Output]]:
    """All windows that were asked for, and all outputs; ``probability`` is a function of the frame's number."""
    track, asked, outputs = channel(), [], []
    for _, entry in audio_log(sound, cuts(len(sound), sizes or [5_120]), marks or []):
        listening = track.listen([entry])
        window = next(listening, None)
        while window is not None:
            asked.append(window)
            try:
                window = listening.send(Heard(probability(len(asked) - 1), USED))
            except StopIteration:
                window = None
        outputs.append(track.take())
    return asked, outputs


def fresh_ones(asked: list[Window]) -> list[int]:
    """Numbers of the frames at which the detector started anew."""
    fresh = [number for number, window in enumerate(asked) if not window.memory.any()]
    assert fresh == [number for number, window in enumerate(asked) if not window.samples[:CONTEXT].any()]
    return fresh


def test_the_detector_hears_each_sample_once_with_the_64_before_it() -> None:
    sound = noise(4 * SAMPLE_RATE).astype(np.float32)
    asked, _ = listen(sound.astype(np.int16), lambda number: 0.0)
    frames = np.concatenate([window.samples[CONTEXT:] for window in asked])
    assert np.array_equal(frames, sound[: len(frames)]) and len(sound) - len(frames) < FRAME
    assert all(np.array_equal(b.samples[:CONTEXT], a.samples[-CONTEXT:]) for a, b in itertools.pairwise(asked))


def test_in_silence_the_detector_starts_anew_every_8_s() -> None:
    asked, _ = listen(noise(20 * SAMPLE_RATE), lambda number: 0.0)
    assert fresh_ones(asked) == [0, RESET_AFTER // FRAME, 2 * RESET_AFTER // FRAME]


def test_after_a_segment_the_detector_starts_anew_at_its_end() -> None:
    asked, outputs = listen(noise(3 * SAMPLE_RATE), lambda number: 0.9 if number == 20 else 0.0)
    [end] = [mark.at for output in outputs for mark in output.marks if mark.kind is MarkKind.SEGMENT_END]
    _, restarted = fresh_ones(asked)
    assert np.array_equal(asked[restarted].samples[CONTEXT:], noise(3 * SAMPLE_RATE)[end : end + FRAME])


@pytest.mark.parametrize("kind", [MarkKind.FINALIZE, MarkKind.PAUSE])
def test_after_an_interruption_the_detector_starts_anew_there(kind: MarkKind) -> None:
    sound = noise(3 * SAMPLE_RATE)
    asked, _ = listen(sound, lambda number: 0.9, [client_mark(kind, 16_320, 0)])
    _, restarted = fresh_ones(asked)
    assert np.array_equal(asked[restarted].samples[CONTEXT:], sound[16_320 : 16_320 + FRAME])


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_an_interruption_exactly_at_a_forced_cut_begins_no_empty_segment(late: bool) -> None:
    """And whether the mark came with the sound or after it makes no difference."""
    sound = noise(21 * SAMPLE_RATE)
    _, outputs = listen(sound, lambda number: 1.0)
    [cut] = [mark.at for output in outputs for mark in output.marks if mark.kind is MarkKind.SEGMENT_END]
    mark = client_mark(MarkKind.FINALIZE, cut, 0 if late else 1)
    _, outputs = listen(sound, lambda number: 1.0, [mark], sizes=[cut, len(sound)])
    kinds = [(mark.kind, mark.at) for output in outputs for mark in output.marks if mark.kind is not MarkKind.QUALITY]
    assert kinds[:3] == [(MarkKind.SEGMENT_BEGIN, 0), (MarkKind.SEGMENT_END, cut), (MarkKind.FINALIZE, cut)]
    assert kinds[3] == (MarkKind.SEGMENT_BEGIN, cut)  # certain speech right after it: a new segment, opened anew
    assert len(kinds) == 4


def test_long_silence_is_forgotten() -> None:
    """Hold music or a mute of hours must not fill the memory (PAINS 5)."""
    track = channel()
    for _, entry in audio_log(np.zeros(60 * SAMPLE_RATE, np.int16), cuts(60 * SAMPLE_RATE, [SAMPLE_RATE])):
        listening = track.listen([entry])
        assert next(listening) is not None
        while True:
            try:
                listening.send(Heard(0.0, USED))
            except StopIteration:
                break
        track.take()
        assert len(track._samples) <= 3 * SAMPLE_RATE
