"""Files become tracks at a rate that the server takes; what cannot be read is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stenoflow.audio.files import open_audio
from stenoflow.base.errors import ClientError
from stenoflow.base.positions import CLIENT_RATES


def tone(path: Path, rate: int, channels: int = 1, seconds: float = 0.5) -> Path:
    time = np.arange(round(rate * seconds)) / rate
    sound = np.stack([0.5 * np.sin(2 * np.pi * 440 * (channel + 1) * time) for channel in range(channels)], axis=1)
    soundfile.write(path, sound, rate)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_any_rate_comes_out_at_one_that_is_accepted(tmp_path: Path, suffix: str, rate: int) -> None:
    audio = open_audio(tone(tmp_path / f"tone.{suffix}", rate))
    assert audio.sample_rate in CLIENT_RATES
    samples = np.frombuffer(b"".join(block[0] for block in audio.blocks()), "<i2")
    assert abs(len(samples) / audio.sample_rate - 0.5) < 0.12  # MP3 pads
    spectrum = np.abs(np.fft.rfft(samples[: audio.sample_rate // 4] * np.hanning(audio.sample_rate // 4)))
    assert abs(int(np.argmax(spectrum)) * 4 - 440) <= 8


def test_each_channel_is_a_track_of_its_own(tmp_path: Path) -> None:
    audio = open_audio(tone(tmp_path / "stereo.wav", 16000, channels=2))
    assert audio.channels == 2
    left, right = (np.frombuffer(piece, "<i2") for piece in next(iter(audio.blocks())))
    assert np.argmax(np.abs(np.fft.rfft(right))) == 2 * np.argmax(np.abs(np.fft.rfft(left)))


def test_what_is_not_there_or_no_sound_is_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("these are words, not sound")
    empty = tone(tmp_path / "empty.wav", 16000, seconds=0)
    nothing = tmp_path / "nothing.wav"
    nothing.touch()
    for path, code, sentence in (
        (tmp_path / "gone.wav", "no_such_file", "is not there"),
        (text, "unreadable_audio", "is no audio"),
        (empty, "empty_audio", "is empty"),
        (nothing, "empty_audio", "is empty"),
        (tmp_path, "is_a_folder", "is a folder"),
    ):
        with pytest.raises(ClientError) as caught:
            open_audio(path)
        assert caught.value.code == code
        assert caught.value.message.startswith(f"{path} {sentence}")


def test_more_channels_than_tracks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClientError) as caught:
        open_audio(tone(tmp_path / "many.wav", 16000, channels=9))
    assert caught.value.code == "too_many_channels"
