"""Opus packets (RFC 6716) as PCM: libopus, which PyAV's wheel brings. One decoder a track; 48 kHz, one channel.

A decoder remembers the packets before. Where sound goes on at another gateway, or again from an earlier place, it
begins anew, which is heard for some packets at most; what is in the log stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stenoflow.base.errors import ClientError
from stenoflow.protocol.messages import OPUS_RATE

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext


class OpusDecoder:
    """Decodes the packets of one track.

    Raises:
        ClientError: ``opus_missing``: PyAV is not installed here.
    """

    def __init__(self) -> None:
        self._codec = self._fresh()

    def __call__(self, packet: bytes) -> bytes:
        """One packet's sound.

        Args:
            packet: as an encoder made it, without any container; empty for no sound.

        Returns:
            16-bit little-endian PCM of one channel at 48 kHz: 2.5 to 120 ms.

        Raises:
            ClientError: ``malformed_packet``.
        """
        import av

        if not packet:
            return b""  # to the decoder it would mean the end
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.FFmpegError:
            self._codec = self._fresh()
            frames = []
        if not frames:
            raise ClientError(
                "malformed_packet", f"a frame of {len(packet)} bytes is no Opus packet: send one packet a frame"
            )
        return b"".join(np.ascontiguousarray(frame.to_ndarray(), "<i2").tobytes() for frame in frames)

    @staticmethod
    def _fresh() -> AudioCodecContext:
        try:
            import av
            from av.audio.codeccontext import AudioCodecContext
        except ImportError:
            raise ClientError(
                "opus_missing", "this gateway takes no Opus, for PyAV is not installed: send pcm_s16le, mulaw or alaw"
            ) from None
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate = OPUS_RATE
        codec.layout = "mono"
        return codec
