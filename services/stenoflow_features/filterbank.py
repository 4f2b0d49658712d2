"""Kaldi's log-mel filterbank, causal, on rows that know nothing of each other.

Equal to ``torchaudio.compliance.kaldi.fbank`` with 80 bins, 25 / 10 ms, dither 0, the Povey window, pre-emphasis 0.97,
the mean removed, ``snip_edges``, 20 Hz to Nyquist, power spectrum and natural logarithm, on samples in int16 units.
Here never lives a state: which samples a frame covers is the caller's matter.

Every operation works row by row, so a frame's bits do not depend on how many frames are computed at once
(DESIGN 2, sentence 3); that is why the mel sums are ``reduceat`` and no matrix product.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import GRID, SAMPLE_RATE
from stenoflow_features.resample import Samples

BANDS: Final = 80
HOP: Final = GRID
"""10 ms, samples."""
WINDOW: Final = 400
"""25 ms, samples."""
LOOK_BACK: Final = WINDOW - HOP
"""Samples before a segment's begin that its first frame covers: 240."""

_FFT: Final = 512
_LOW_HZ: Final = 20.0
_PREEMPHASIS: Final = 0.97
_POVEY: Final = np.hanning(WINDOW) ** 0.85
_FLOOR: Final = np.finfo(np.float32).eps
_ROWS_AT_ONCE: Final = 128

Frames = NDArray[np.float32]
"""(T, BANDS) natural logarithms of band power."""


def _mel(hertz: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1127.0 * np.log(1.0 + hertz / 700.0), np.float32)


def _triangles() -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """The mel triangles without their zeros (Kaldi, ``mel-computations.cc``): FFT bins, weights, first of each band.

    In single precision, as Kaldi and torchaudio do: a bin at a triangle's foot has a weight of which rounding is a
    part, and where such a bin is a loud one's neighbour the band shows it (3e-4).
    """
    low, high = (1127.0 * np.log(1.0 + hertz / 700.0) for hertz in (_LOW_HZ, SAMPLE_RATE / 2))
    step = (high - low) / (BANDS + 1)
    band = np.arange(BANDS, dtype=np.float32)[:, None]
    left, centre, right = (np.float32(low) + (band + np.float32(at)) * np.float32(step) for at in range(3))
    bins = _mel(np.arange(_FFT // 2, dtype=np.float32) * np.float32(SAMPLE_RATE / _FFT))[None, :]
    weights = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    bands, columns = np.nonzero(weights)
    assert len(np.unique(bands)) == BANDS, "a mel band without an FFT bin cannot be summed"
    return columns, weights[bands, columns].astype(np.float64), np.searchsorted(bands, np.arange(BANDS))


_BINS, _WEIGHTS, _FIRST = _triangles()


def windows(samples: Samples) -> Samples:
    """The windows of a stretch of sound, as a view.

    Args:
        samples: (LOOK_BACK + N,): the sound before the stretch, then the stretch.

    Returns:
        (N // HOP, WINDOW), read-only: frame i covers the WINDOW samples that end HOP * (i + 1) into the stretch.
    """
    if len(samples) < WINDOW:
        return np.zeros((0, WINDOW), np.float32)
    return np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]


def log_mel(rows: Samples) -> Frames:
    """Log-mel energies of windows.

    Args:
        rows: (T, WINDOW) float32, int16 units.

    Returns:
        (T, BANDS) float32.
    """
    output = np.empty((len(rows), BANDS), np.float32)
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        output[at : at + _ROWS_AT_ONCE] = _log_mel(rows[at : at + _ROWS_AT_ONCE])
    return output


def _log_mel(rows: Samples) -> Frames:
    # In double precision: in single, a band 90 dB below the loudest one is off by up to 5e-3, in torchaudio too.
    # 1. Remove the mean. 2. Pre-emphasis; the first sample is its own predecessor. 3. Window, padded to the FFT.
    centred = rows - rows.mean(axis=1, dtype=np.float64, keepdims=True)
    padded = np.zeros((len(rows), _FFT))
    np.subtract(centred[:, 1:], _PREEMPHASIS * centred[:, :-1], out=padded[:, 1:WINDOW])
    padded[:, 0] = centred[:, 0] - _PREEMPHASIS * centred[:, 0]
    padded[:, :WINDOW] *= _POVEY
    # 4. Power spectrum. 5. Mel sums. 6. Logarithm over float32's epsilon.
    spectrum = np.fft.rfft(padded, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    mel = np.add.reduceat(power[:, _BINS] * _WEIGHTS, _FIRST, axis=1).astype(np.float32)
    return np.log(np.maximum(mel, _FLOOR))
