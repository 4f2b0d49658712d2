"""The filterbank: Kaldi's numbers, and the same bits however many frames are computed at once."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.features.sound import clip, cuts, noise

from stenoflow.bundle.card import KALDI
from stenoflow_features.filterbank import HOP, LOOK_BACK, Filterbank, windows


def kaldi(samples: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """``torchaudio.compliance.kaldi.fbank`` with the settings that ours is made for, in double or single precision."""
    torch = pytest.importorskip("torch", reason="the reference filterbank needs torch")
    try:
        reference = importlib.import_module("torchaudio.compliance.kaldi")
    except OSError as error:
        pytest.skip(f"torchaudio does not import here ({error}): run services/stenoflow_trainer/torchaudio_cpu.py")
    return np.asarray(
        reference.fbank(
            torch.from_numpy(samples.astype(dtype))[None],
            num_mel_bins=KALDI.bins,
            frame_length=25.0,
            frame_shift=10.0,
            dither=0.0,
            sample_frequency=16_000.0,
        )
    )


@pytest.mark.parametrize("name", ["ls-1188-133604-0010", "aws-demo2-001540", "cv-40199565"])
def test_speech_gives_torchaudios_numbers(name: str) -> None:
    samples = clip(name)
    ours = Filterbank()(windows(samples.astype(np.float32)))
    theirs = kaldi(samples)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4


def test_single_precision_moves_torchaudio_itself_by_more() -> None:
    """Measured on all clips: 5e-3 at most, in bands 90 dB below the loudest; under 1e-4 in all but 1 % of the cells."""
    samples = clip("aws-demo2-001540")
    error = np.abs(Filterbank()(windows(samples.astype(np.float32))) - kaldi(samples, np.float32))
    assert error.max() < 1e-2 and np.mean(error > 1e-4) < 0.01


@pytest.mark.parametrize("samples", [np.zeros(4_000, np.int16), noise(4_000, scale=30_000)], ids=["zeros", "loud"])
def test_extremes_give_torchaudios_numbers(samples: np.ndarray) -> None:
    assert np.abs(Filterbank()(windows(samples.astype(np.float32))) - kaldi(samples)).max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 600), min_size=1, max_size=6))
def test_a_frames_bits_do_not_depend_on_its_company(sizes: list[int]) -> None:
    rows = windows(noise(16_000).astype(np.float32))
    pieces = [Filterbank()(rows[a:b]) for a, b in cuts(len(rows), sizes)]
    assert np.array_equal(np.concatenate(pieces), Filterbank()(rows))


def test_rows_from_other_memory_give_the_same_bits() -> None:
    """Views of a longer sound and a packed copy lie differently in memory; vector code must not care."""
    sound = noise(24_000).astype(np.float32)
    rows = windows(sound)
    expected = Filterbank()(rows)
    for first in range(1, 9):
        assert np.array_equal(Filterbank()(np.ascontiguousarray(rows[first:])), expected[first:])


@given(length=st.integers(0, 4 * HOP))
def test_a_stretch_has_one_frame_per_hop(length: int) -> None:
    assert len(windows(np.zeros(LOOK_BACK + length, np.float32))) == length // HOP
