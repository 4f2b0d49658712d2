"""Binary WebSocket frames: 12 bytes of header, then 16-bit little-endian PCM (DESIGN 7)."""

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
    """Parses a binary message.

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
    samples = message[HEADER.size :]
    if len(samples) % 2:
        raise ClientError(
            "odd_byte_count",
            f"an audio frame of 16-bit samples has an even number of bytes; this one has {len(samples)}",
        )
    if position > 2**53:
        raise ClientError("malformed_frame", f"position {position} is beyond any call; count samples from 0")
    return AudioFrame(track, position, samples)
