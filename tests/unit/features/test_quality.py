"""Quality: each fault is named, good sound is not accused, and a fresh worker goes on with the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.features.sound import CLIPS, clip, noise

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_features.quality import DEAD_S, HINTS, REMEMBERED, Meter


def measured(sound: NDArray[np.int16], sample_rate: int = SAMPLE_RATE) -> list[dict[str, Any]]:
    """Fields of every whole second; the sound is 16 kHz, whatever rate the client is said to have."""
    meter = Meter(sample_rate)
    if sample_rate == SAMPLE_RATE:
        meter.count(0, sound)
    return [
        meter.measure(second, sound[second * SAMPLE_RATE :][:SAMPLE_RATE].astype(np.float32))
        for second in range(len(sound) // SAMPLE_RATE)
    ]


def codes(fields: list[dict[str, Any]]) -> set[str | None]:
    return {one["hint"] and one["hint"]["code"] for one in fields}


def speech(seconds: int = 10, scale: float = 1.0) -> NDArray[np.int16]:
    both = np.concatenate([clip("ls-1188-133604-0010"), clip("ls-1580-141083-0002")])
    return (both[: seconds * SAMPLE_RATE] * scale).clip(-32768, 32767).astype(np.int16)


def telephone(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    soxr = pytest.importorskip("soxr", reason="the telephone band is made with soxr")
    narrow = soxr.resample(soxr.resample(sound.astype(np.float32), 16_000, 8_000), 8_000, 16_000)
    return np.asarray(narrow.clip(-32768, 32767), np.int16)


CLEAN = sorted(path.stem for path in (*CLIPS.glob("ls-*.opus"), *CLIPS.glob("cv-*.opus")))


@pytest.mark.parametrize("name", CLEAN)
def test_clean_wide_band_speech_gets_no_hint(name: str) -> None:
    fields = measured(clip(name))
    assert codes(fields) == {None}
    assert fields[-1]["bandwidth_hz"] == 8_000


@pytest.mark.parametrize("name", ["aws-demo2-001540", "aws-demo2-008940"])
def test_a_real_telephone_recording_is_told_by_its_band(name: str) -> None:
    fields = measured(clip(name))
    assert fields[-1]["bandwidth_hz"] == 4_000
    assert codes(fields[2:]) == {"telephone_band"}


def test_upsampled_speech_is_told_by_its_band() -> None:
    assert codes(measured(telephone(speech()))[2:]) == {"telephone_band"}


def test_who_sends_8_khz_is_not_told_what_he_chose() -> None:
    fields = measured(telephone(speech()), sample_rate=8_000)
    assert codes(fields) == {None} and fields[-1]["bandwidth_hz"] == 4_000


def test_peaks_that_are_cut_off_are_clipping() -> None:
    fields = measured(speech(scale=20))
    assert codes(fields) == {"clipping"} and max(one["clipping"] for one in fields) > 0.01


def test_clipping_is_counted_in_the_clients_own_samples() -> None:
    """A resampler rounds clipped peaks off, so counting behind it would miss them."""
    meter = Meter(48_000)
    square = np.where(np.arange(48_000) % 480 < 240, 32_767, -32_768).astype(np.int16)
    meter.count(0, square[:20_000])
    meter.count(20_000, square[20_000:])
    assert meter.measure(0, np.full(SAMPLE_RATE, 20_000, np.float32))["clipping"] == 1.0


def test_a_distant_voice_is_too_quiet() -> None:
    assert codes(measured(speech(scale=0.02))[2:]) == {"too_quiet"}


def test_a_voice_in_loud_noise_is_noisy() -> None:
    fields = measured((speech() * 0.5 + noise(10 * SAMPLE_RATE, scale=1500)).clip(-32768, 32767).astype(np.int16))
    assert codes(fields[3:]) == {"noisy"} and fields[-1]["snr_db"] < 10


def test_a_listener_with_a_quiet_line_is_not_accused() -> None:
    assert codes(measured(noise(10 * SAMPLE_RATE, scale=10))) == {None}


def test_only_zeros_for_long_are_a_dead_microphone() -> None:
    fields = measured(np.zeros((DEAD_S + 1) * SAMPLE_RATE, np.int16))
    assert [one["hint"] is not None for one in fields] == [False] * (DEAD_S - 1) + [True] * 2
    assert codes(fields[-2:]) == {"all_zeros"}
    assert fields[-1]["level_db"] == -96.0 and fields[-1]["snr_db"] is None and fields[-1]["bandwidth_hz"] is None


def test_level_is_the_mean_power() -> None:
    [fields] = measured(np.full(SAMPLE_RATE, 16_384, np.int16))
    assert fields["level_db"] == -6.0


def test_an_old_fault_is_forgotten() -> None:
    loud = speech(2, scale=20)
    fields = measured(np.concatenate([loud, speech(10)]))
    assert codes(fields[:3]) == {"clipping"} and fields[2 + REMEMBERED]["hint"] is None


@pytest.mark.parametrize("second", [0, 1, 5, 9, 13])
def test_a_fresh_meter_goes_on_with_the_same_numbers(second: int) -> None:
    sound = np.concatenate([speech(6), noise(3 * SAMPLE_RATE), np.zeros(SAMPLE_RATE, np.int16), speech(6, scale=9)])
    first = Meter(SAMPLE_RATE)
    first.count(0, sound)
    seconds = [sound[at * SAMPLE_RATE :][:SAMPLE_RATE].astype(np.float32) for at in range(16)]
    expected = [first.measure(at, one) for at, one in enumerate(seconds)]
    before = Meter(SAMPLE_RATE)
    before.count(0, sound)
    for at in range(min(16, second + 2)):  # measured ahead of what was written, as in silence
        before.measure(at, seconds[at])
    fresh = Meter(SAMPLE_RATE, second, before.remembered(second))
    start = max(0, second * SAMPLE_RATE - 77)  # a restart point lies a little before the second
    fresh.count(start, sound[start:])
    assert [fresh.measure(at, seconds[at]) for at in range(second, 16)] == expected[second:]


def test_every_hint_is_a_sentence() -> None:
    assert all(len(text) > 30 and text[0].isupper() and text[-1] in ".?" for text in HINTS.values())
