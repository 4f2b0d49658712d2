"""What bundles ask for beside the usual: cepstra, other bands, the sound itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from transformers.audio_utils import mel_filter_bank

from stenoflow.bundle.card import KALDI, FbankCard, MfccCard, WaveformCard, asked
from stenoflow_features.filterbank import LOOK_BACK, Filterbank, _slaney_triangles, windows
from stenoflow_features.front_end import FrontEnd, front_end_of

USUAL: dict[str, Any] = {"sample_rate": 16_000, "hop_ms": 10}


def fbank(**changes: Any) -> FbankCard:
    bins = changes.get("bins", 80)
    fields = {"kind": "fbank", "bins": bins, "frame_ms": 25, "flush_frame": [0.0] * bins, **USUAL, **changes}
    return FbankCard.model_validate(fields)


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).normal(0, 3000, length)).astype(np.float32)


@pytest.mark.parametrize("bins", [40, 64, 128])
def test_other_numbers_of_bands_are_kaldis(bins: int) -> None:
    samples = noise(16_000)
    card = fbank(bins=bins, high_hz=7600.0, full_scale=1)
    ours = Filterbank(card)(windows(samples))
    theirs = torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(samples)[None].double() / 32_768, num_mel_bins=bins, high_freq=-400.0, dither=0.0
    ).numpy()
    assert np.abs(ours - theirs).max() < 2e-3


def test_cepstra_are_kaldis() -> None:
    samples = noise(16_000, 1)
    fields = {"kind": "mfcc", "bins": 13, "bands": 23, "frame_ms": 25, "flush_frame": [0.0] * 13, **USUAL}
    frames = FrontEnd(MfccCard.model_validate(fields)).frames(windows(samples))
    theirs = torchaudio.compliance.kaldi.mfcc(torch.from_numpy(samples)[None].double(), dither=0.0).numpy()
    ours = np.frombuffer(frames, "<f2").reshape(-1, 13).astype(np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=5e-2)


def test_slaneys_bands_are_those_of_librosa() -> None:
    theirs = mel_filter_bank(257, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    assert np.abs(_slaney_triangles(80, 0.0, 8000.0) - theirs.T).max() < 1e-6


def test_a_waveforms_frames_are_its_samples() -> None:
    samples = noise(LOOK_BACK + 1600)
    samples[LOOK_BACK] = 40_000.0
    front_end = FrontEnd(WaveformCard(kind="waveform", sample_rate=16_000, hop_ms=10))
    found = np.frombuffer(front_end.frames(windows(samples)), "<i2")
    assert front_end.frame_bytes == 320
    assert np.array_equal(found, np.clip(samples[LOOK_BACK:], -32_768, 32_767).astype(np.int16))


def test_the_usual_is_asked_for_without_a_word_and_the_rest_reads_back() -> None:
    assert asked(fbank()) == "" and front_end_of("").frame_bytes == 2 * KALDI.bins
    assert asked(fbank(high_hz=7600.0)) != ""
    assert front_end_of(asked(fbank(bins=64))).frame_bytes == 128
