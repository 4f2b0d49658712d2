"""The endpoint rules as a table."""

from __future__ import annotations

import pytest

from stenoflow_decoder.endpoint import Progress, Reason, Rules, silence_left

S = 16_000
MS = 16


@pytest.mark.parametrize(
    ("elapsed", "silence", "has_words", "at_word_end", "left", "reason"),
    [
        # without words: 2 s, of which the last 300 ms are silent
        (0, 0, False, False, 2 * S, Reason.WORDLESS),
        (1 * S, 1 * S, False, False, 1 * S, Reason.WORDLESS),
        (2 * S, 2 * S, False, False, 0, Reason.WORDLESS),
        (2 * S, 100 * MS, False, False, 200 * MS, Reason.WORDLESS),
        # with words: blanks count from 800 ms, and never less than the session asks for
        (5 * S, 0, True, False, 800 * MS, Reason.SILENCE),
        (5 * S, 800 * MS, True, True, 0, Reason.SILENCE),
        # length: a pause between words from 16 s on, any gap between words from 18 s, anything at 20 s
        (15 * S, 200 * MS, True, True, 600 * MS, Reason.SILENCE),
        (16 * S, 200 * MS, True, True, 0, Reason.LENGTH),
        (16 * S, 0, True, True, 120 * MS, Reason.LENGTH),
        (16 * S, 200 * MS, True, False, 600 * MS, Reason.SILENCE),
        (18 * S, 0, True, True, 0, Reason.LENGTH),
        (19 * S + 900 * MS, 0, True, False, 100 * MS, Reason.LENGTH),
        (20 * S, 0, True, False, 0, Reason.LENGTH),
        (20 * S, 0, False, False, 0, Reason.LENGTH),
    ],
)
def test_silence_left(
    elapsed: int, silence: int, has_words: bool, at_word_end: bool, left: int, reason: Reason
) -> None:
    assert silence_left(Progress(elapsed, silence, has_words, at_word_end), Rules()) == (left, reason)


def test_a_patient_session_waits_longer() -> None:
    rules = Rules(trailing_silence=2 * S)
    assert silence_left(Progress(5 * S, 1 * S, True, True), rules) == (1 * S, Reason.SILENCE)


def test_an_impatient_session_is_cut_by_the_detector_and_not_by_blanks() -> None:
    rules = Rules(trailing_silence=240 * MS)
    assert silence_left(Progress(5 * S, 240 * MS, True, True), rules)[0] > 0
