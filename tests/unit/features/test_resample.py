"""The resampler: same bits at any chunking and from any restart, right positions, a clean band."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.features.sound import cuts, noise

from stenoflow.base.positions import CLIENT_RATES, GRID
from stenoflow_features.resample import Resampler


def whole(samples: np.ndarray, rate: int) -> np.ndarray:
    resampler = Resampler(rate, 0)
    return np.concatenate([resampler.push(samples.astype(np.float32)), resampler.flush()])


@pytest.mark.parametrize("rate", CLIENT_RATES)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_chunking_never_changes_a_bit(rate: int, sizes: list[int]) -> None:
    samples = noise(rate // 2)
    resampler = Resampler(rate, 0)
    pieces = [resampler.push(samples[a:b].astype(np.float32)) for a, b in cuts(len(samples), sizes)]
    assert np.array_equal(np.concatenate([*pieces, resampler.flush()]), whole(samples, rate))


@pytest.mark.parametrize("rate", CLIENT_RATES)
@pytest.mark.parametrize("block", [1, 7, 30])
def test_a_restart_is_exact_once_the_memory_is_full(rate: int, block: int) -> None:
    samples, size = noise(rate // 2), rate // 100
    resampler = Resampler(rate, block * size)
    settled = -(-resampler.memory // size) * GRID  # the memory, up to the grid
    output = np.concatenate([resampler.push(samples[block * size :].astype(np.float32)), resampler.flush()])
    assert np.array_equal(output[settled:], whole(samples, rate)[block * GRID + settled :])


@pytest.mark.parametrize("rate", CLIENT_RATES)
def test_output_waits_for_the_filters_half_length_and_no_longer(rate: int) -> None:
    resampler, size = Resampler(rate, 0), rate // 100
    assert resampler.memory <= 0.0043 * rate
    resampler.push(np.zeros(10 * size + resampler.memory, np.float32))
    assert resampler.produced == 10 * GRID


@pytest.mark.parametrize("rate", CLIENT_RATES)
def test_a_flush_gives_all_and_leaves_later_sound_as_it_was(rate: int) -> None:
    samples, size = noise(rate // 2).astype(np.float32), rate // 100
    resampler = Resampler(rate, 0)
    first = np.concatenate([resampler.push(samples[: 20 * size + 3]), resampler.flush()])
    assert len(first) == resampler.produced == 20 * GRID
    rest = np.concatenate([resampler.push(samples[20 * size + 3 :]), resampler.flush()])
    assert np.array_equal(rest, whole(samples, rate)[20 * GRID :])


@pytest.mark.parametrize("rate", CLIENT_RATES)
@pytest.mark.parametrize("hertz", [50.0, 1000.0, 3400.0])
def test_a_tone_keeps_its_place_and_level(rate: int, hertz: float) -> None:
    tone = 10_000 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)
    expected = 10_000 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)
    inner = slice(800, -800)
    assert np.abs(whole(tone, rate) - expected)[inner].max() < 10  # -60 dB: in phase, at full level, no images


@pytest.mark.parametrize("rate", [24_000, 32_000, 44_100, 48_000])
def test_nothing_above_nyquist_folds_back(rate: int) -> None:
    tone = 10_000 * np.sin(2 * np.pi * 9_000 * np.arange(rate) / rate)
    assert np.abs(whole(tone, rate)[800:-800]).max() < 2  # 70 dB down


def test_16_khz_passes_untouched() -> None:
    samples = noise(4_800)
    assert np.array_equal(whole(samples, 16_000), samples.astype(np.float32))
