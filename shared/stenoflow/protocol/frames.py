"""Binary WebSocket frames: 12 bytes of header, then sound: 16-bit little-endian PCM or G.711 (DESIGN 7)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from stenoflow.base.errors import ClientError

VERSION = 1
HEADER = struct.Struct("<BBHQ")
MAX_FRAME_SECONDS = 2.0
"""Longest stretch of sound in one frame; a larger frame is refused before it is read into a log."""


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """Some sound of one track.

    Args:
        track: track number.
        position: client position of the first sample.
        samples: 16-bit little-endian PCM.
    """

    track: int
    position: int
    samples: bytes

    @property
    def end(self) -> int:
        """Client position after the last sample."""
        return self.position + len(self.samples) // 2


def encode_frame(frame: AudioFrame) -> bytes:
    """The frame as it goes over the wire."""
    return HEADER.pack(VERSION, frame.track, 0, frame.position) + frame.samples


def decode_frame(message: bytes) -> AudioFrame:
    """Parses a binary message of 16-bit PCM.

    Raises:
        ClientError: ``malformed_frame``, ``unsupported_version`` or ``odd_byte_count``.
    """
    track, position, samples = split_frame(message)
    return AudioFrame(track, position, whole_samples(samples))


def whole_samples(samples: bytes) -> bytes:
    """The same 16-bit samples.

    Raises:
        ClientError: ``odd_byte_count``.
    """
    if len(samples) % 2:
        raise ClientError(
            "odd_byte_count",
            f"an audio frame of 16-bit samples has an even number of bytes; this one has {len(samples)}",
        )
    return samples


def split_frame(message: bytes) -> tuple[int, int, bytes]:
    """A binary message's track, position and payload in the track's encoding.

    Raises:
        ClientError: ``malformed_frame`` or ``unsupported_version``.
    """
    if len(message) < HEADER.size:
        raise ClientError(
            "malformed_frame",
            f"an audio frame has a header of {HEADER.size} bytes; this message has {len(message)} bytes in all",
        )
    version, track, flags, position = HEADER.unpack_from(message)
    if version != VERSION:
        raise ClientError("unsupported_version", f"audio frame version {version} is unknown; send version {VERSION}")
    if flags:
        raise ClientError("malformed_frame", f"the flags of an audio frame must be 0; this one has {flags:#06x}")
    if position > 2**53:
        raise ClientError("malformed_frame", f"position {position} is beyond any call; count samples from 0")
    return track, position, message[HEADER.size :]
