"""What the student hears in place of what the teacher heard: drawn anew every time, so no recording comes twice.

The words stay as they are. Heavy masks from the first step are too much, so `hardness` grows from 0 (gain and equaliser
only) to 1. Masks: Park et al. 2019, "SpecAugment" (arXiv 1904.08779). Vocal tracts of other lengths: Jaitly and Hinton
2013, "Vocal tract length perturbation (VTLP) improves speech recognition".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stenoflow.audio.mel import kaldi_hertz, kaldi_mel
from stenoflow.bundle.card import KALDI
from stenoflow_trainer import data
from stenoflow_trainer.spoil import spoil

Array = npt.NDArray[np.float32]

NATS_PER_DB = float(np.log(10.0) / 10.0)  # log-mel is a log of power
OTHER_TRACT = 0.12  # at hardness 1 frequencies are up to so much (a share) higher or lower


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much is done: `spoiled`, a share of the recordings; `hardness` of the masks, 0 to 1."""

    spoiled: float
    hardness: float


def heard(sound: npt.NDArray[np.int16], draw: np.random.Generator, augmentation: Augmentation | None) -> Array:
    """Log-mel features [N / 160, 80] of 16 kHz samples [N]; as they are where `augmentation` is None."""
    samples = sound.astype(np.float32) / np.float32(32768.0)
    if augmentation is None:
        return data.fbank(samples)
    if draw.random() < augmentation.spoiled:
        samples = spoil(samples, draw)
    return augment(data.fbank(samples), draw, augmentation.hardness)


def augment(features: Array, draw: np.random.Generator, hardness: float) -> Array:
    """Returns a changed copy of log-mel features [frames, 80]: vocal tract, gain, equaliser, masks; all nearly free."""
    frames, bins = features.shape
    out = of_another_tract(features, 1.0 + OTHER_TRACT * hardness * float(draw.uniform(-1.0, 1.0)))
    out += np.float32(draw.uniform(-20.0, 8.0) * NATS_PER_DB)
    out += _equaliser(bins, draw)
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


def of_another_tract(features: Array, scale: float) -> Array:
    """Log-mel features [frames, bins] of a speaker whose resonances lie `scale` times as high; a copy.

    Above where the scaled axis would leave the filterbank the last band is repeated.
    """
    lowest, highest = kaldi_mel(KALDI.low_hz), kaldi_mel(KALDI.high_hz)
    centres = lowest + (highest - lowest) * np.arange(1, features.shape[1] + 1) / (features.shape[1] + 1)
    wanted = np.array([kaldi_mel(kaldi_hertz(centre) / scale) for centre in centres])
    position = np.clip((wanted - centres[0]) / (centres[1] - centres[0]), 0.0, features.shape[1] - 1.0)
    below = np.minimum(position.astype(np.intp), features.shape[1] - 2)
    share = (position - below).astype(np.float32)
    warped: Array = features[:, below] * (1.0 - share) + features[:, below + 1] * share
    return warped


def _equaliser(bins: int, draw: np.random.Generator) -> Array:
    """A smooth curve over the bands: microphones and rooms colour sound."""
    position = np.arange(bins, dtype=np.float32) / bins
    curve = np.zeros(bins, np.float32)
    for order in (1, 2, 3):
        curve += np.float32(draw.normal(0.0, 0.5 / order)) * np.cos(np.pi * order * position, dtype=np.float32)
    return curve
