"""Kaldi's mel bands: what the filterbank sums by, and what an export has to know to say how two filterbanks differ."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE

FFT: Final = 512
"""Samples of a spectrum; a frame of 25 ms is padded to it."""


def kaldi_triangles(bands: int, low_hz: float, high_hz: float) -> NDArray[np.float32]:
    """Kaldi's mel triangles (``mel-computations.cc``), (bands, FFT / 2): straight on the mel scale.

    In single precision, as Kaldi and torchaudio do: a bin at a triangle's foot has a weight of which rounding is a
    part, and where such a bin is a loud one's neighbour the band shows it (3e-4).
    """
    low, high = (kaldi_mel(hertz) for hertz in (low_hz, high_hz))
    step = (high - low) / (bands + 1)
    band = np.arange(bands, dtype=np.float32)[:, None]
    left, centre, right = (np.float32(low) + (band + np.float32(at)) * np.float32(step) for at in range(3))
    hertz = np.arange(FFT // 2, dtype=np.float32) * np.float32(SAMPLE_RATE / FFT)
    bins = np.asarray(1127.0 * np.log(1.0 + hertz / 700.0), np.float32)[None, :]
    weights: NDArray[np.float32] = np.maximum(
        0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    )
    return weights


def kaldi_mel(hertz: float) -> float:
    """A frequency on Kaldi's mel scale."""
    return float(1127.0 * np.log(1.0 + hertz / 700.0))


def kaldi_hertz(mel: float) -> float:
    """The frequency at a place on Kaldi's mel scale."""
    return float(700.0 * (np.exp(mel / 1127.0) - 1.0))
