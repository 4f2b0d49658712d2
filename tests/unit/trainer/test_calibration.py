"""The expected calibration error of examples that can be summed on paper."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from stenoflow.alignment.words import AS_SAID, Calibration, log_odds
from stenoflow.base.errors import ConfigError
from stenoflow_trainer.calibration import Bin, expected_calibration_error, fit, judged, log_priors, reliability


def test_error_is_the_mean_distance_weighted_by_words() -> None:
    """Bin 0.9: (0.9 + 1.0) / 2 = 0.95 and half right, off by 0.45; bin 0.2: 0.25 and right in 1 of 2, off by 0.25."""
    curve = reliability([(0.9, True), (1.0, False), (0.2, False), (0.3 - 1e-9, True)])
    assert [one.low for one in curve] == [0.2, 0.9]
    assert [one.words for one in curve] == [2, 2]
    assert [one.right for one in curve] == [0.5, 0.5]
    assert expected_calibration_error(curve) == pytest.approx((2 * 0.45 + 2 * 0.25) / 4)


def test_bins_of_more_words_weigh_more() -> None:
    curve = [Bin(0.8, 30, 0.85, 0.75), Bin(0.1, 10, 0.15, 0.15)]
    assert expected_calibration_error(curve) == pytest.approx(0.075)


def test_the_ends_of_the_scale_have_a_bin() -> None:
    assert [(one.low, one.words) for one in reliability([(0.0, False), (1.0, True)])] == [(0.0, 1), (0.9, 1)]


def test_confidences_that_are_true_have_no_error() -> None:
    curve = reliability([(0.75, True), (0.75, True), (0.75, True), (0.75, False)])
    assert expected_calibration_error(curve) == 0.0


def test_the_line_that_made_the_words_is_found_and_makes_confidences_true() -> None:
    draw, true = np.random.default_rng(1), Calibration(0.6, -0.8, 0.5)
    said = [draw.uniform(0.02, 0.99, draw.integers(1, 9)).tolist() for _ in range(4_000)]
    utterances = [[(one, bool(draw.random() < p)) for one, p in zip(words, true(words), strict=True)] for words in said]
    found = fit(utterances)
    assert astuple(found) == pytest.approx(astuple(true), abs=0.06)
    before = expected_calibration_error(reliability(judged(utterances, AS_SAID)))
    after = expected_calibration_error(reliability(judged(utterances, found)))
    assert after < 0.02 < 0.1 < before


def test_a_few_words_that_are_all_right_make_no_infinite_line() -> None:
    found = fit([[(0.9, True), (0.8, True)]])
    assert 0.9 < found([0.9, 0.8])[0] < 1.0 and abs(found.slope) < 50


def test_priors_are_the_mean_over_all_frames() -> None:
    certain, unsure = np.log([[1.0 - 2e-9, 1e-9, 1e-9]] * 3), np.log([[0.2, 0.3, 0.5]])
    found = log_priors([certain.astype(np.float32), unsure.astype(np.float32)])
    assert np.exp(found) == pytest.approx([0.8, 0.075, 0.125], abs=1e-6)
    with pytest.raises(ConfigError, match="no speech"):
        log_priors([])


def test_words_that_say_nothing_about_confidences_are_refused() -> None:
    with pytest.raises(ConfigError, match="no word was understood"):
        fit([[], []])
    contrary = [[(0.9, False), (0.1, True)] * 5 for _ in range(20)]
    with pytest.raises(ConfigError, match="200 words"):
        fit(contrary)


def test_a_fit_ends_wherever_it_begins() -> None:
    """Few words and hardly any slope: steps that are not shortened leave the numbers that there are."""
    draw, true = np.random.default_rng(5), Calibration(0.3, -1.0, 0.5)
    found = []
    for _ in range(40):
        said = [draw.uniform(0.001, 0.999, draw.integers(1, 9)).tolist() for _ in range(8)]
        utterances = [[(one, bool(draw.random() < p)) for one, p in zip(ws, true(ws), strict=True)] for ws in said]
        try:
            found.append(astuple(fit(utterances)))
        except ConfigError:
            continue
    assert len(found) >= 20 and np.abs(found).max() < 100


def test_the_default_believes_the_model() -> None:
    assert AS_SAID([0.3, 0.0]) == pytest.approx([0.3, 1e-4]) and log_odds(0.5) == 0.0 and AS_SAID([]) == []


def test_a_word_is_believed_less_among_words_that_are_hardly_understood() -> None:
    calibration = Calibration(0.8, -0.2, 0.5)
    (alone,), (among, *_) = calibration([0.9]), calibration([0.9, 0.2, 0.1])
    assert among < alone
