"""How a track sounds, second by second, and what a person could mend about it.

Here live the measurements and the hints in words. Here never lives speech detection: all of it is a pure function of
the samples of the present second and of a few numbers for each of the seven before it. Levels are dBFS (0 dB is a
full-scale square wave), kept in whole tenths, so that what travels in an entry's header is exactly what was used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_features.resample import Samples

REMEMBERED: Final = 8
"""Seconds that an estimate looks back over: long enough that somebody pauses, short enough that a mended
microphone is soon seen."""

FLOOR_DB: Final = -96.0
"""Where levels stop: the rounding noise of 16-bit sound."""
CLIPPED: Final = 32_000
"""A client sample from here on is clipped (-0.2 dBFS; mu-law's greatest value is 32124)."""

CLIPPING_SHARE: Final = 0.005
QUIET_DB: Final = -45.0
"""Speech below this is too quiet: the quiet end of telephone levels is about -40 dBFS."""
LIVELY_DB: Final = 12.0
"""Loud less soft blocks: less than this is a steady noise and nobody's speech."""
PRESENT_DB: Final = -60.0
"""Loud blocks below this are no speech that could be measured."""
NOISY_SNR_DB: Final = 10.0
NOISY_FROM_DB: Final = -50.0
NARROW_DB: Final = -45.0
"""Density of 4.4 to 7 kHz over that of 0.3 to 3.4 kHz. Measured per second of speech on the repository's clips: wide
band -36 dB or more, telephone sound resampled to 16 kHz -54 dB or less."""
DEAD_S: Final = 5
"""So many seconds of nothing but zeros are a dead microphone (or the wrong channel)."""

TOLD_AFTER_S: Final = 3
"""Seconds before anything is said about voice, background or band: one breath is no sample of a voice."""

HINTS: Final = {
    "all_zeros": "No sound at all arrives, only zeros: is the microphone muted, or is this the wrong channel?",
    "clipping": "The sound is cut off at its peaks: lower the microphone's gain.",
    "too_quiet": "The voice is very quiet: raise the microphone's gain or speak closer to it.",
    "noisy": "The background is nearly as loud as the voice: a headset or a quieter place would help.",
    "telephone_band": "The sound has nothing above 4 kHz, although the sample rate would carry it: "
    "a telephone or a narrow-band headset mode is on its way.",
}

_BLOCK: Final = SAMPLE_RATE // 50
"""20 ms, samples: the grain of soft and loud."""
_SOFT, _LOUD = 4, 44
"""Ranks among a second's 50 blocks: the 10th and the 90th percentile."""
_FFT: Final = 512
_HANN: Final = np.hanning(_FFT).astype(np.float32)
_VOICE_BINS: Final = slice(10, 109)
_HIGH_BINS: Final = slice(141, 224)


@dataclass(frozen=True, slots=True)
class Second:
    """What is remembered of one second.

    Args:
        soft: level of the softer blocks (10th percentile), tenths of dBFS.
        loud: level of the louder blocks (90th percentile), tenths of dBFS.
        tilt: high over voice band, tenths of dB; None where nothing was loud enough to tell.
        clipped: clipped samples, in 10,000.
        zeros: whether every sample was 0.
    """

    soft: int
    loud: int
    tilt: int | None
    clipped: int
    zeros: bool

    def packed(self) -> list[int | None]:
        """For an entry's header; ``Second(*packed)`` is the inverse."""
        return [self.soft, self.loud, self.tilt, self.clipped, int(self.zeros)]


class Meter:
    """One track's quality.

    Args:
        sample_rate: the client's, Hz.
        before: second (since the track began) that will be measured first.
        remembered: the packed seconds just before it, oldest first (of :meth:`remembered`).
    """

    def __init__(self, sample_rate: int, before: int = 0, remembered: Iterable[Sequence[int | None]] = ()) -> None:
        self._sample_rate = sample_rate
        self._clips: dict[int, int] = {}
        history = [_unpacked(packed) for packed in remembered]
        self._seconds = {before - len(history) + at: second for at, second in enumerate(history)}

    def count(self, start: int, samples: NDArray[np.int16]) -> None:
        """Counts clipped samples. ``start`` is the client position of the first of ``samples`` (N,)."""
        if not len(samples) or (int(samples.max()) < CLIPPED and int(samples.min()) > -CLIPPED):
            return
        where = start + np.nonzero((samples >= CLIPPED) | (samples <= -CLIPPED))[0]
        for second, count in zip(*np.unique(where // self._sample_rate, return_counts=True), strict=True):
            self._clips[int(second)] = self._clips.get(int(second), 0) + int(count)

    def measure(self, second: int, samples: Samples) -> dict[str, Any]:
        """The fields of the ``quality`` mark at the end of ``second``.

        Args:
            second: since the track began; seconds come in order. All its client samples were counted.
            samples: (SAMPLE_RATE,) its sound at 16 kHz, int16 units.
        """
        clipping = self._clips.pop(second, 0) / self._sample_rate
        self._clips = {later: count for later, count in self._clips.items() if later > second}
        power = np.square(samples, dtype=np.float64).reshape(-1, _BLOCK).mean(axis=1)
        blocks = np.sort(power)
        loud = _tenths(blocks[_LOUD])
        self._seconds[second] = Second(
            soft=_tenths(blocks[_SOFT]),
            loud=loud,
            tilt=_tilt(samples) if loud > QUIET_DB * 10 else None,
            clipped=round(clipping * 10_000),
            zeros=not samples.any(),
        )
        self._seconds.pop(second - 2 * REMEMBERED, None)
        history = self._history(second + 1)
        snr = _snr(history)
        bandwidth = self._bandwidth(history)
        code = self._hint(history, snr, bandwidth)
        return {
            "level_db": _tenths(power.mean()) / 10,
            "clipping": round(clipping, 4),
            "snr_db": snr,
            "bandwidth_hz": bandwidth,
            "hint": {"code": code, "message": HINTS[code]} if code else None,
        }

    def remembered(self, before: int) -> list[list[int | None]]:
        """What a fresh meter must know of the seconds before ``before`` to go on with it."""
        return [second.packed() for second in self._history(before)]

    def _history(self, before: int) -> list[Second]:
        window = range(before - REMEMBERED, before)
        return [self._seconds[second] for second in window if second in self._seconds]

    def _bandwidth(self, history: Sequence[Second]) -> int | None:
        if self._sample_rate == 8_000:
            return 4_000
        tilts = [second.tilt for second in history if second.tilt is not None]
        # One wide second proves the way wide; vowels alone may look narrow.
        return None if not tilts else 8_000 if max(tilts) > NARROW_DB * 10 else 4_000

    def _hint(self, history: Sequence[Second], snr: float | None, bandwidth: int | None) -> str | None:
        """The one thing to mend first. Who sends 8 kHz has chosen the telephone band and is not told of it."""
        newest = history[-DEAD_S:]
        if len(newest) == DEAD_S and all(second.zeros for second in newest):
            return "all_zeros"
        if max(second.clipped for second in history) >= CLIPPING_SHARE * 10_000:
            return "clipping"
        if len(history) < TOLD_AFTER_S:
            return None
        if snr is not None:
            loud = max(second.loud for second in history) / 10
            if snr >= LIVELY_DB and loud < QUIET_DB:
                return "too_quiet"
            if snr < NOISY_SNR_DB and loud > NOISY_FROM_DB:
                return "noisy"
        if bandwidth == 4_000 and self._sample_rate > 8_000:
            return "telephone_band"
        return None


def _unpacked(packed: Sequence[int | None]) -> Second:
    soft, loud, tilt, clipped, zeros = packed
    assert soft is not None and loud is not None and clipped is not None, packed
    return Second(soft, loud, tilt, clipped, bool(zeros))


def _snr(history: Sequence[Second]) -> float | None:
    """Loudest less softest blocks, dB: speech over background, as long as somebody pauses within the memory."""
    loud = max(second.loud for second in history)
    return None if loud < PRESENT_DB * 10 else (loud - min(second.soft for second in history)) / 10


def _tenths(power: float) -> int:
    """Mean square in int16 units squared to tenths of dBFS."""
    return round(10 * max(FLOOR_DB, 10 * float(np.log10(max(power, 1e-9) / 32768.0**2))))


def _tilt(samples: Samples) -> int:
    """Spectral density of the high over that of the voice band, tenths of dB."""
    whole = len(samples) // _FFT * _FFT
    spectrum = np.fft.rfft(samples[:whole].reshape(-1, _FFT) * _HANN, axis=1)
    density = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=0, dtype=np.float64)
    return round(100 * float(np.log10((density[_HIGH_BINS].mean() + 1e-3) / (density[_VOICE_BINS].mean() + 1e-3))))
