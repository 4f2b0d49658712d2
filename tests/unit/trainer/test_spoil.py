"""What is done to the student's sound leaves its words where they are, and does what it says."""

from __future__ import annotations

import numpy as np
import pytest

from stenoflow_trainer.data import SAMPLE_RATE, Samples
from stenoflow_trainer.spoil import in_a_room, in_noise, on_the_line, spoil
from stenoflow_trainer.telephone import CODECS


def bursts(seed: int = 1) -> Samples:
    """Two seconds: noise of all frequencies from 0.5 to 0.7 s and from 1.2 to 1.3 s."""
    made = np.zeros(2 * SAMPLE_RATE, np.float32)
    draw = np.random.default_rng(seed)
    for begin, end in ((0.5, 0.7), (1.2, 1.3)):
        at = slice(int(begin * SAMPLE_RATE), int(end * SAMPLE_RATE))
        made[at] = 0.2 * draw.standard_normal(at.stop - at.start)
    return made


def onset(samples: Samples, after: float) -> float:
    """Seconds where the sound first exceeds a tenth of its loudest, from `after` on."""
    loud = np.abs(samples) > 0.1 * np.abs(samples).max()
    first = int(after * SAMPLE_RATE)
    return (first + int(np.argmax(loud[first:]))) / SAMPLE_RATE


@pytest.mark.parametrize("codec", CODECS)
def test_a_line_carries_nothing_above_four_kilohertz_and_moves_nothing(codec: str) -> None:
    samples = bursts()
    heard = on_the_line(samples, codec)
    assert heard.shape == samples.shape and heard.dtype == np.float32
    power = np.abs(np.fft.rfft(heard)) ** 2
    assert power[8_400:].sum() < 1e-3 * power.sum()
    assert abs(onset(heard, 0.3) - 0.5) < 0.005 and abs(onset(heard, 1.0) - 1.2) < 0.005


def test_a_room_rings_after_the_sound_and_not_before() -> None:
    samples = bursts()
    heard = in_a_room(samples, 0.5, 0.0, np.random.default_rng(3))
    assert heard.shape == samples.shape
    assert np.abs(heard[: int(0.499 * SAMPLE_RATE)]).max() < 1e-6
    assert np.abs(heard[int(0.75 * SAMPLE_RATE) : int(0.8 * SAMPLE_RATE)]).mean() > 1e-3
    assert float((heard**2).mean()) == pytest.approx(float((samples**2).mean()), rel=1e-3)


@pytest.mark.parametrize("ratio", [5.0, 20.0])
def test_noise_is_as_far_below_as_is_said(ratio: float) -> None:
    samples = bursts()
    noise = in_noise(samples, ratio, -1.0, np.random.default_rng(4)) - samples
    found = 10 * np.log10(float((samples**2).mean()) / float((noise**2).mean()))
    assert found == pytest.approx(ratio, abs=0.1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert power[200:2_000].mean() > 3 * power[8_000:].mean()  # pink: less above


def test_the_same_draw_spoils_the_same_and_silence_stays_finite() -> None:
    one, two = (spoil(bursts(), np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(one, two)
    for seed in range(20):
        quiet = spoil(np.zeros(SAMPLE_RATE, np.float32), np.random.default_rng(seed))
        assert np.isfinite(quiet).all() and len(quiet) == SAMPLE_RATE
