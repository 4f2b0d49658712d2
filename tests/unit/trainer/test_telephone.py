"""What is measured as a telephone line is one."""

from __future__ import annotations

import numpy as np
import pytest

from stenoflow_trainer.data import SAMPLE_RATE
from stenoflow_trainer.telephone import CODECS, over_the_line, pcm16


def tone(hertz: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS)
def test_half_the_samples_in_step_with_the_original(codec: str) -> None:
    heard = over_the_line(tone(1_000), codec)
    assert heard.dtype == np.int16 and len(heard) == SAMPLE_RATE // 2
    original = pcm16(tone(1_000))[::2].astype(float)
    shifts = [float(np.dot(np.roll(heard, shift)[400:-400], original[400:-400])) for shift in range(-3, 4)]
    assert int(np.argmax(shifts)) == 3, "not shifted"


def test_what_a_line_does_not_carry_is_gone() -> None:
    assert np.abs(over_the_line(tone(6_000))[200:-200]).max() < 100
    assert np.abs(over_the_line(tone(2_000))[200:-200]).max() > 14_000


def test_mu_law_has_the_values_of_the_standard() -> None:
    """G.711 table 2a in 16-bit units: the largest value is 32124, and a full-scale sample gets it; silence stays."""
    loud = over_the_line(np.ones(SAMPLE_RATE, np.float32))
    assert loud[2_000] == 32_124
    assert not over_the_line(np.zeros(SAMPLE_RATE, np.float32)).any()
    assert len(set(over_the_line(tone(300)).tolist())) <= 255
