"""Sounds of calls in which nobody says a word."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE

NOISE_DB = (-20, -40, -60)
TONE_DB = -20
NOTES = (523.25, 659.26, 783.99, 659.26, 587.33, 698.46, 880.0, 698.46)
"""Of the hold melody, Hz: two broken chords."""
NOTE_S = 0.4
SOUNDS = 2 * len(NOISE_DB) + 3

Samples = NDArray[np.float64]


def wordless(seconds: float) -> Iterator[tuple[str, bytes]]:
    """Name and 16 kHz 16-bit PCM of each sound; the same at every call."""
    chance = np.random.default_rng(0)
    size = round(seconds * SAMPLE_RATE)
    for level in NOISE_DB:
        yield f"white noise {level} dB", pcm(at_level(chance.standard_normal(size), level))
        yield f"pink noise {level} dB", pcm(at_level(pink(chance, size), level))
    at = np.arange(size) / SAMPLE_RATE
    yield f"440 Hz tone {TONE_DB} dB", pcm(at_level(np.sin(2 * np.pi * 440 * at), TONE_DB))
    yield f"hold melody {TONE_DB} dB", pcm(at_level(melody(at), TONE_DB))
    yield "silence", bytes(2 * size)


def pink(chance: np.random.Generator, size: int) -> Samples:
    """Noise whose power falls by 3 dB an octave, from 20 Hz on."""
    spectrum = np.fft.rfft(chance.standard_normal(size))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20.0)), size))


def melody(at: Samples) -> Samples:
    """Sine notes with an octave above them, each fading away; at the given seconds."""
    number, within = np.divmod(at, NOTE_S)
    hertz = np.asarray(NOTES)[number.astype(np.int64) % len(NOTES)]
    rise = np.minimum(1.0, within / 0.01)
    sound = np.sin(2 * np.pi * hertz * within) + 0.3 * np.sin(4 * np.pi * hertz * within)
    return np.asarray(sound * rise * np.exp(-5 * within))


def at_level(sound: Samples, level_db: float) -> Samples:
    """Scaled to a root mean square, dB of full scale."""
    return np.asarray(sound * 10 ** (level_db / 20) / np.sqrt(np.square(sound).mean()))


def pcm(sound: Samples) -> bytes:
    """16-bit little-endian."""
    return np.clip(np.rint(sound * 32767), -32768, 32767).astype("<i2").tobytes()
