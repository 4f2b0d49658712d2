"""Sound of a track that was paused: where no span covers it, it is silence, and nothing else moves."""

from __future__ import annotations

import numpy as np

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry, Kind, Span
from stenoflow.runtime.look_back import Stretch
from stenoflow_second_pass.sound import sound_of

TRACK = TrackKey(SessionId("s00-0123456789abcdef"), 0, Epoch("e"))
LOUD = np.full(160, 16_384, "<i2").tobytes()


def entry(begin: int, end: int, *spans: Span) -> Entry:
    return Entry(TRACK, Kind.AUDIO, begin, end, spans, 1, 2, LOUD * len(spans))


def test_silence_between_two_stretches_of_sound_keeps_its_length() -> None:
    entries = [
        entry(0, 480, Span(0, 160), Span(320, 480)),
        entry(480, 640),
        entry(640, 800, Span(640, 800)),
    ]
    sound = sound_of(entries, Stretch(0, 800), 16_000)
    assert sound is not None
    expected = np.repeat(np.array([0.5, 0, 0.5, 0, 0.5], np.float32), 160)
    assert np.array_equal(sound, expected)


def test_a_piece_that_the_log_has_lost_is_not_silence() -> None:
    assert sound_of([entry(0, 160, Span(0, 160)), entry(320, 480, Span(320, 480))], Stretch(0, 480), 16_000) is None
