"""What becomes of speech on its way into a call: a room, noise and other voices, a microphone, a telephone line.

Done to the sound that the student hears; the teacher heard the clean one. Nothing here moves a word in time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from stenoflow_trainer.data import SAMPLE_RATE, Samples
from stenoflow_trainer.telephone import CODECS, TELEPHONE_RATE, over_the_line

ON_THE_LINE: Final = 0.5
IN_A_ROOM: Final = 0.3
IN_NOISE: Final = 0.4
"""Shares of the recordings; they fall on each other by chance."""


def spoil(samples: Samples, draw: np.random.Generator) -> Samples:
    """A spoiled copy of mono samples at 16 kHz in [-1, 1], as long as they are."""
    out = samples
    if draw.random() < IN_A_ROOM:
        out = in_a_room(out, float(draw.uniform(0.1, 0.6)), float(draw.uniform(0.0, 12.0)), draw)
    if draw.random() < IN_NOISE:
        out = in_noise(out, float(draw.uniform(5.0, 30.0)), float(draw.uniform(-2.0, 0.5)), draw)
    if draw.random() < ON_THE_LINE:
        loudest = float(np.abs(out).max()) or 1.0
        level = float(draw.uniform(0.1, 0.9))
        out = on_the_line(out / np.float32(loudest) * np.float32(level), str(draw.choice(CODECS)))
    return out


def in_a_room(samples: Samples, reverberation_s: float, direct_db: float, draw: np.random.Generator) -> Samples:
    """Direct sound and an exponentially decaying tail of noise (Polack's model of a room's late response).

    Args:
        samples: mono.
        reverberation_s: time in which the tail falls by 60 dB.
        direct_db: how much more energy the direct sound has than the tail.
        draw: of the tail.
    """
    length = max(1, int(reverberation_s * SAMPLE_RATE))
    tail = draw.standard_normal(length, np.float32) * np.logspace(0.0, -3.0, length, dtype=np.float32)
    tail *= np.float32(10 ** (-direct_db / 20) / np.sqrt((tail**2).sum()))
    response = np.concatenate([np.ones(1, np.float32), tail])
    size = _quick_size(len(samples) + length)
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return _as_loud_as(samples, heard)


def in_noise(samples: Samples, ratio_db: float, slope: float, draw: np.random.Generator) -> Samples:
    """Steady noise at so many dB below the speech.

    Args:
        samples: mono.
        ratio_db: mean power of the recording over that of the noise.
        slope: exponent of its power over frequency: 0 is white, -1 pink, -2 brown.
        draw: of the noise.
    """
    size = _quick_size(len(samples))
    frequencies = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 50.0).astype(np.float32)
    spectrum = np.fft.rfft(draw.standard_normal(size, np.float32)) * frequencies ** np.float32(slope / 2)
    noise = np.fft.irfft(spectrum, size)[: len(samples)]
    power, wanted = float((noise**2).mean()), float((samples**2).mean())
    mixed: Samples = (samples + noise * np.sqrt(wanted / max(power, 1e-20)) * 10 ** (-ratio_db / 20)).astype(np.float32)
    return mixed


def on_the_line(samples: Samples, codec: str) -> Samples:
    """What a telephone leaves: at 16 kHz again.

    Args:
        samples: mono, in [-1, 1].
        codec: one of ``CODECS``.
    """
    line = over_the_line(samples, codec).astype(np.float32) / np.float32(32768.0)
    wide = soxr.resample(line, TELEPHONE_RATE, SAMPLE_RATE)[: len(samples)]
    padded: Samples = np.pad(wide, (0, len(samples) - len(wide))).astype(np.float32)
    return padded


def _quick_size(least: int) -> int:
    """The next multiple of a power of two: a transform of a prime length takes ten times as long."""
    grain = 1 << max(0, least.bit_length() - 4)
    return -(-least // grain) * grain


def _as_loud_as(samples: Samples, heard: npt.NDArray[np.floating]) -> Samples:
    power, wanted = float((heard**2).mean()), float((samples**2).mean())
    same: Samples = (heard * np.sqrt(wanted / max(power, 1e-20))).astype(np.float32)
    return same
