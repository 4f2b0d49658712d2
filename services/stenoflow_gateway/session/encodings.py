"""What a client sends as 16-bit PCM: the two laws of ITU-T G.711 as tables (its tables 1 and 2, scaled to 16 bits).

Positions count samples in every encoding. In G.711 a byte is one; an Opus packet is as many as it holds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stenoflow.protocol.frames import whole_samples
from stenoflow_gateway.session.opus import OpusDecoder

Samples = NDArray[np.int16]


def _mulaw() -> Samples:
    """Sign, three bits of exponent, four of mantissa, all inverted; 14-bit values, scaled to 16 bits."""
    code = ~np.arange(256) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


def _alaw() -> Samples:
    """The same with even bits inverted and a linear part at the bottom; 13-bit values, scaled to 16 bits."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    linear = (mantissa << 4) + 8
    magnitude = np.where(exponent > 0, (linear + 0x100) << np.maximum(exponent - 1, 0), linear)
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")


_TABLES = {"mulaw": _mulaw(), "alaw": _alaw()}


Decoder = Callable[[bytes], bytes]
"""From a frame's payload to 16-bit little-endian PCM; may raise a ``ClientError``."""


def decoder_of(encoding: str) -> Decoder:
    """What makes PCM of one track's frames.

    Args:
        encoding: as in ``start``.

    Raises:
        ClientError: ``opus_missing``.
    """
    if encoding == "opus":
        return OpusDecoder()
    table = _TABLES.get(encoding)
    return whole_samples if table is None else lambda payload: table[np.frombuffer(payload, np.uint8)].tobytes()
