"""The two voices of one call: clips placed on a quiet line, made when they are spoken, at the caller's own rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

from load_tests.conversations import Clip, own_clips, placed
from load_tests.scenario import Kind
from load_tests.speakers import CHUNK_MS
from stenoflow.base.positions import SAMPLE_RATE

NOISE_DB = -66.0
"""Level of the line's own noise, dB of full scale: no line is digitally silent."""
NOISE_S = 7.0
"""It repeats after this, and begins at another place of it in every call."""
MU = 255.0

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Placed:
    """Samples, and where on the track they begin; the caller's rate."""

    begin: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class LineVoice:
    """One track: placed clips over noise. A :class:`load_tests.speakers.Voice`.

    Args:
        sample_rate: Hz.
        length: samples.
        clips: in order.
        noise: of the line; repeats.
        offset: sample of the noise at which the call begins.
        text: all that is said, plain.
    """

    sample_rate: int
    length: int
    clips: tuple[Placed, ...]
    noise: Samples
    offset: int
    text: str

    def spoken(self, begin: int, end: int) -> bytes:
        """The samples ``[begin, end)``; fewer at the end."""
        end = min(end, self.length)
        at = np.arange(begin + self.offset, max(begin, end) + self.offset) % len(self.noise)
        sound = self.noise[at].astype(np.int32)
        for clip in self.clips:
            first, last = max(begin, clip.begin), min(end, clip.begin + len(clip.samples))
            if first < last:
                sound[first - begin : last - begin] += clip.samples[first - clip.begin : last - clip.begin]
        return np.clip(sound, -32768, 32767).astype("<i2").tobytes()


def voices(kind: Kind, seed: int, seconds: float) -> tuple[LineVoice, LineVoice]:
    """The sides of a call; another order of clips, other pauses and other noise for each seed.

    Args:
        kind: of the caller.
        seed: number of the call.
        seconds: its length; whole chunks of it are spoken.
    """
    clips, library = _library(), _at_rate(kind.sample_rate, kind.telephone)
    noise = library[""]
    turns: tuple[list[Placed], list[Placed]] = ([], [])
    texts: tuple[list[str], list[str]] = ([], [])
    for side, at, clip in placed(clips, seed, seconds):
        turns[side].append(Placed(at * kind.sample_rate // SAMPLE_RATE, library[clip.text]))
        texts[side].append(clip.text)
    length = int(seconds * 1000 / CHUNK_MS) * (kind.sample_rate * CHUNK_MS // 1000)
    first, second = (
        LineVoice(
            kind.sample_rate,
            length,
            tuple(turns[side]),
            noise,
            (2 * seed + side) * 7919 % len(noise),
            " ".join(texts[side]),
        )
        for side in (0, 1)
    )
    return first, second


def kind_of(mix: Sequence[Kind], number: int) -> Kind:
    """The kind of call ``number``: at any count of calls the kinds have their shares, within one call."""
    counts = [0] * len(mix)
    chosen = 0
    for call in range(number + 1):
        chosen = max(range(len(mix)), key=lambda each: mix[each].share * (call + 1) - counts[each])
        counts[chosen] += 1
    return mix[chosen]


@lru_cache(1)
def _library() -> Sequence[Clip]:
    return own_clips()


@lru_cache(8)
def _at_rate(sample_rate: int, telephone: bool) -> Mapping[str, Samples]:
    """Clips by their text, and the noise under the empty text."""
    noise = np.random.default_rng(0).standard_normal(round(NOISE_S * SAMPLE_RATE)) * 10 ** (NOISE_DB / 20) * 32768
    sounds = {clip.text: np.frombuffer(clip.pcm, "<i2").astype(np.float64) for clip in _library()} | {"": noise}
    return {text: _as_sent(sound, sample_rate, telephone) for text, sound in sounds.items()}


def _as_sent(sound: NDArray[np.float64], sample_rate: int, telephone: bool) -> Samples:
    if telephone:
        sound = _mu_law(soxr.resample(sound, SAMPLE_RATE, 8000))
        sound = soxr.resample(sound, 8000, sample_rate) if sample_rate != 8000 else sound
    elif sample_rate != SAMPLE_RATE:
        sound = soxr.resample(sound, SAMPLE_RATE, sample_rate)
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def _mu_law(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """There and back in 8 bits: the continuous form of G.711's law, whose steps it has."""
    level = np.clip(sound / 32768, -1, 1)
    code = np.rint(np.sign(level) * np.log1p(MU * np.abs(level)) / np.log1p(MU) * 127) / 127
    return np.asarray(np.sign(code) * np.expm1(np.abs(code) * np.log1p(MU)) / MU * 32768)
