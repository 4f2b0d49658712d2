"""The student hears something else every time, in step with what the teacher heard."""

from __future__ import annotations

import numpy as np
import pytest

from stenoflow_trainer import data
from stenoflow_trainer.augment import Augmentation, heard, of_another_tract
from stenoflow_trainer.telephone import pcm16


def burst() -> np.ndarray:
    """A second of quiet noise, loud from 0.5 to 0.7 s."""
    draw = np.random.default_rng(1)
    made = 0.001 * draw.standard_normal(data.SAMPLE_RATE)
    made[8_000:11_200] += 0.2 * draw.standard_normal(3_200)
    return pcm16(made.astype(np.float32))


def test_without_augmentation_the_student_hears_what_the_teacher_heard() -> None:
    plain = heard(burst(), np.random.default_rng(0), None)
    assert np.array_equal(plain, data.fbank(burst() / np.float32(32768)))


def test_no_two_hearings_are_the_same_and_each_can_be_repeated() -> None:
    augmentation = Augmentation(spoiled=1.0, hardness=0.5)
    one, two, again = (heard(burst(), np.random.default_rng(seed), augmentation) for seed in (1, 2, 1))
    assert not np.array_equal(one, two) and np.array_equal(one, again)


def test_a_spoiled_hearing_is_in_step() -> None:
    for seed in range(20):
        features = heard(burst(), np.random.default_rng(seed), Augmentation(spoiled=1.0, hardness=0.0))
        assert features.shape == (100, data.BINS)
        middle = features[:, 15:55].mean(axis=1)  # what a telephone carries
        assert 50 <= int(np.argmax(middle)) <= 72  # frame i ends at 10 ms * (i + 1)


def test_a_share_of_nought_spoils_nothing() -> None:
    untouched = heard(burst(), np.random.default_rng(3), Augmentation(spoiled=0.0, hardness=0.0))
    change = untouched - data.fbank(burst() / np.float32(32768))
    assert np.abs(change - change[0]).max() < 1e-3  # gain and equaliser alone: the same for every frame


def tone(hertz: float) -> np.ndarray:
    """Log-mel features of half a second."""
    time = np.arange(data.SAMPLE_RATE // 2) / data.SAMPLE_RATE
    return data.fbank((0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32))


@pytest.mark.parametrize("scale", [0.88, 0.9, 1.1, 1.12])
@pytest.mark.parametrize("hertz", [400.0, 1500.0, 4000.0])
def test_another_tract_moves_every_frequency_by_the_same_share(scale: float, hertz: float) -> None:
    moved, wanted = of_another_tract(tone(hertz), scale)[20], tone(hertz * scale)[20]
    assert abs(int(moved.argmax()) - int(wanted.argmax())) <= 1
    assert int(moved.argmax()) != int(tone(hertz)[20].argmax())


def test_the_same_tract_changes_nothing() -> None:
    features = tone(700.0)
    assert np.allclose(of_another_tract(features, 1.0), features, atol=1e-4)
