"""Log-mel filterbanks and cepstra, causal, on rows that know nothing of each other.

The default is ``torchaudio.compliance.kaldi.fbank`` with 80 bins, 25 / 10 ms, dither 0, the Povey window, pre-emphasis
0.97, the mean removed, ``snip_edges``, 20 Hz to Nyquist, power spectrum and natural logarithm, on samples in int16
units. A bundle's card may ask for others. Here never lives a state: which samples a frame covers is the caller's
matter.

Every operation works row by row, so a frame's bits do not depend on how many frames are computed at once
(DESIGN 2, sentence 3); that is why the mel sums are ``reduceat`` and no matrix product.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.audio.mel import FFT, kaldi_triangles
from stenoflow.base.positions import GRID, SAMPLE_RATE
from stenoflow.bundle.card import KALDI, FbankCard, MfccCard
from stenoflow_features.resample import Samples

HOP: Final = GRID
"""10 ms, samples."""
WINDOW: Final = 400
"""25 ms, samples."""
LOOK_BACK: Final = WINDOW - HOP
"""Samples before a segment's begin that its first frame covers: 240."""

_FLOOR: Final = np.finfo(np.float32).eps
_ROWS_AT_ONCE: Final = 128
_KNEE_HZ: Final = 1000.0
"""Slaney's scale is linear below and logarithmic above."""

Frames = NDArray[np.float32]
"""(T, F) natural logarithms of band power, or cepstra."""


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


class Filterbank:
    """Log-mel energies of windows, as a card asks for them.

    Args:
        card: the filterbank's.
        bands: mel bands; None: the card's bins.
    """

    def __init__(self, card: FbankCard = KALDI, bands: int | None = None) -> None:
        bands = bands or card.bins
        self._frame = SAMPLE_RATE * card.frame_ms // 1000
        self._scale = card.full_scale / KALDI.full_scale
        self._remove_mean, self._preemphasis = card.remove_mean, card.preemphasis
        hann = np.hanning(self._frame)
        self._window = hann**0.85 if card.window == "povey" else hann
        kaldi = card.mel == "kaldi"
        triangles = (kaldi_triangles if kaldi else _slaney_triangles)(bands, card.low_hz, card.high_hz)
        # The triangles without their zeros: FFT bins, weights, and where each band that has any begins.
        band_of, self._bins = np.nonzero(triangles)
        self._weights = triangles[band_of, self._bins].astype(np.float64)
        self._heard, self._first = np.unique(band_of, return_index=True)
        self._bands = bands

    def __call__(self, rows: Samples) -> Frames:
        """Log-mel energies.

        Args:
            rows: (T, WINDOW) float32, int16 units; of a shorter frame the newest samples are heard.

        Returns:
            (T, bands) float32.
        """
        output = np.empty((len(rows), self._bands), np.float32)
        for at in range(0, len(rows), _ROWS_AT_ONCE):
            output[at : at + _ROWS_AT_ONCE] = self._log_mel(rows[at : at + _ROWS_AT_ONCE, -self._frame :])
        return output

    def _log_mel(self, rows: Samples) -> Frames:
        # In double precision: in single, a band 90 dB below the loudest one is off by up to 5e-3, in torchaudio too.
        # 1. Remove the mean. 2. Pre-emphasis; the first sample is its own predecessor. 3. Window, padded to the FFT.
        mean = rows.mean(axis=1, dtype=np.float64, keepdims=True) if self._remove_mean else 0.0
        centred = (rows - mean) * self._scale
        padded = np.zeros((len(rows), FFT))
        np.subtract(centred[:, 1:], self._preemphasis * centred[:, :-1], out=padded[:, 1 : self._frame])
        padded[:, 0] = centred[:, 0] - self._preemphasis * centred[:, 0]
        padded[:, : self._frame] *= self._window
        # 4. Power spectrum. 5. Mel sums. 6. Logarithm over float32's epsilon.
        spectrum = np.fft.rfft(padded, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = np.zeros((len(rows), self._bands), np.float32)
        mel[:, self._heard] = np.add.reduceat(power[:, self._bins] * self._weights, self._first, axis=1)
        return np.log(np.maximum(mel, _FLOOR))


class Cepstra:
    """Kaldi's mel-frequency cepstra, without energy: the cosine transform of a filterbank, liftered.

    Args:
        card: what is asked for.
    """

    def __init__(self, card: MfccCard) -> None:
        self._filterbank = Filterbank(card, card.bands)
        order, band = np.arange(card.bins), np.arange(card.bands)[:, None]
        cosines = np.sqrt(2 / card.bands) * np.cos(np.pi / card.bands * (band + 0.5) * order)
        cosines[:, 0] = np.sqrt(1 / card.bands)
        lift = 1 + card.lifter / 2 * np.sin(np.pi * order / card.lifter) if card.lifter else np.ones(card.bins)
        self._transform = cosines * lift

    def __call__(self, rows: Samples) -> Frames:
        """(T, WINDOW) float32 in int16 units → (T, cepstra) float32."""
        log_mel = self._filterbank(rows).astype(np.float64)
        # No matrix product: see above.
        cepstra: Frames = np.einsum("tb,bc->tc", log_mel, self._transform, optimize=False).astype(np.float32)
        return cepstra


def _slaney_triangles(bands: int, low_hz: float, high_hz: float) -> NDArray[np.float32]:
    """Slaney's, of equal area, as ``librosa.filters.mel``, (bands, FFT / 2 + 1): straight in hertz."""
    per_octave = 27 / np.log(6.4)

    def mel(hertz: float) -> float:
        low = hertz * 3 / 200
        return float(low if hertz < _KNEE_HZ else 15 + per_octave * np.log(hertz / _KNEE_HZ))

    mels = np.linspace(mel(low_hz), mel(high_hz), bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, _KNEE_HZ * np.exp((mels - 15) / per_octave))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(FFT // 2 + 1)[None, :] * (SAMPLE_RATE / FFT)
    triangles = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    weights: NDArray[np.float32] = (triangles * (2 / (right - left))).astype(np.float32)
    return weights
