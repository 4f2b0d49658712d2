"""What is done to the student's features at training time, in the log-mel domain, where it is nearly free.

The teacher heard the plain recording: a change must leave the words as they are.  RECIPE 2: heavy masks from the first
step are too much, so `hardness` grows from 0 (gain and equaliser only) to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

NATS_PER_DB = float(np.log(10.0) / 10.0)  # log-mel is a log of power
TELEPHONE_BINS = (9, 63)  # of 80 between 20 Hz and 8 kHz: 300 to 3400 Hz or so


def augment(features: Array, draw: np.random.Generator, hardness: float) -> Array:
    """Returns a changed copy of log-mel features [frames, 80]."""
    frames, bins = features.shape
    out = features + np.float32(draw.uniform(-20.0, 8.0) * NATS_PER_DB)
    out += _equaliser(bins, draw)
    if draw.random() < 0.12 * hardness:
        out = _telephone(out, draw)
    if draw.random() < 0.30 * hardness:
        out = _noise(out, draw)
    if hardness > 0.0:
        mean = out.mean(axis=0)
        width = int(draw.integers(0, 1 + int(9 * hardness)))
        first = int(draw.integers(0, bins - width + 1))
        out[:, first : first + width] = mean[first : first + width]
        for _ in range(int(frames / 300 * hardness + draw.random())):
            length = int(draw.integers(0, 13))
            begin = int(draw.integers(0, max(1, frames - length)))
            out[begin : begin + length] = mean
    return out


def _equaliser(bins: int, draw: np.random.Generator) -> Array:
    """A smooth curve over the bands: microphones and rooms colour sound."""
    position = np.arange(bins, dtype=np.float32) / bins
    curve = np.zeros(bins, np.float32)
    for order in (1, 2, 3):
        curve += np.float32(draw.normal(0.0, 0.5 / order)) * np.cos(np.pi * order * position, dtype=np.float32)
    return curve


def _telephone(out: Array, draw: np.random.Generator) -> Array:
    """Takes away what a telephone does not carry."""
    low, high = TELEPHONE_BINS
    floor = np.float32(draw.uniform(-2.0, 3.0))
    out[:, :low] = np.minimum(out[:, :low] - 4.0, floor + 6.0)
    quiet = draw.normal(0.0, 0.5, size=(len(out), out.shape[1] - high)).astype(np.float32)
    out[:, high:] = np.minimum(out[:, high:], floor) + quiet
    return out


def _noise(out: Array, draw: np.random.Generator) -> Array:
    """Adds steady noise of a smooth spectrum at 8 to 30 dB below the loud parts."""
    loud = float(np.percentile(out.mean(axis=1), 90))
    level = loud - draw.uniform(8.0, 30.0) * NATS_PER_DB
    noise = level + 2.0 * _equaliser(out.shape[1], draw)
    # The log of a band's power of Gaussian noise scatters by about 0.4 nat at these bandwidths.
    scatter = draw.normal(0.0, 0.4, size=out.shape).astype(np.float32)
    mixed: Array = np.logaddexp(out, noise + scatter)
    return mixed
