"""Audio files as tracks: whatever libsndfile reads, at any rate; each channel is a track."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import MAX_TRACKS
from stenoflow.base.positions import CLIENT_RATES, SAMPLE_RATE

BLOCK_S = 10.0
"""Length of sound that is held in memory at once."""


STEREO_NAMES = ("left", "right")


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file that can be streamed.

    Args:
        path: where it is.
        name: what messages call it.
        sample_rate: at which its samples are given, Hz: its own where the server takes it, else 16,000.
        channels: each is a track.
        seconds: its length.
    """

    path: Path
    name: str
    sample_rate: int
    channels: int
    seconds: float

    def blocks(self) -> Iterator[list[bytes]]:
        """The sound, block by block: one 16-bit little-endian PCM piece a channel.

        Raises:
            ClientError: ``unreadable_audio``: the file breaks off in the middle.
        """
        try:
            with soundfile.SoundFile(self.path) as file:
                resamplers = (
                    [
                        soxr.ResampleStream(file.samplerate, self.sample_rate, 1, dtype="float32")
                        for _ in range(self.channels)
                    ]
                    if file.samplerate != self.sample_rate
                    else None
                )
                last = False
                while not last:
                    block = file.read(int(BLOCK_S * file.samplerate), dtype="float32", always_2d=True)
                    last = len(block) < int(BLOCK_S * file.samplerate)
                    columns = [np.ascontiguousarray(block[:, channel]) for channel in range(self.channels)]
                    if resamplers is not None:
                        columns = [
                            stream.resample_chunk(column, last=last)
                            for stream, column in zip(resamplers, columns, strict=True)
                        ]
                    yield [_pcm16(column) for column in columns]
        except soundfile.LibsndfileError as error:
            raise ClientError("unreadable_audio", f"{self.name} breaks off: {_reason(error)}") from None


def open_audio(path: Path, name: str = "") -> AudioFile:
    """Looks at a file without reading its sound.

    Args:
        path: where it is.
        name: what messages call it; by default its path.

    Raises:
        ClientError: ``is_a_folder``, ``no_such_file``, ``empty_audio``, ``unreadable_audio`` or ``too_many_channels``.
    """
    name = name or str(path)
    if path.is_dir():
        raise ClientError("is_a_folder", f"{name} is a folder: name the files in it, e.g. {path}/*.wav")
    if not path.is_file():
        raise ClientError("no_such_file", f"{name} is not there")
    if path.stat().st_size == 0:
        raise ClientError("empty_audio", f"{name} is empty")
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise ClientError(
            "unreadable_audio", f"{name} is no audio that can be read (WAV, FLAC, Ogg, Opus, MP3): {_reason(error)}"
        ) from None
    if info.frames == 0:
        raise ClientError("empty_audio", f"{name} is empty: there is no sound after its header")
    if info.channels > MAX_TRACKS:
        raise ClientError(
            "too_many_channels", f"{name} has {info.channels} channels; at most {MAX_TRACKS} can be told apart"
        )
    rate = info.samplerate if info.samplerate in CLIENT_RATES else SAMPLE_RATE
    return AudioFile(path, name, rate, info.channels, info.frames / info.samplerate)


def track_names(audio: AudioFile, title: str) -> tuple[str, ...]:
    """What the tracks of a file are called: its title, or by the side or the channel."""
    if audio.channels == 1:
        return (title[:64],)
    if audio.channels == 2:
        return STEREO_NAMES
    return tuple(f"channel {number + 1}" for number in range(audio.channels))


def _pcm16(samples: np.ndarray) -> bytes:
    return np.clip(np.rint(samples * 32767.0), -32768, 32767).astype("<i2").tobytes()


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).rstrip(".").lower()
