"""What a telephone line leaves of a recording: 8 kHz, through the codec of the line.

The codecs are libsndfile's: G.711 (mu-law and A-law) and GSM 06.10, which is GSM's full rate.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from stenoflow_trainer.data import SAMPLE_RATE, Samples

TELEPHONE_RATE: Final = 8_000
"""Hz."""
CODECS: Final = ("ULAW", "ALAW", "GSM610")


def pcm16(samples: Samples) -> npt.NDArray[np.int16]:
    """Samples in [-1, 1] as 16-bit numbers."""
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def over_the_line(samples: Samples, codec: str = "ULAW") -> npt.NDArray[np.int16]:
    """16 kHz samples [N] in [-1, 1] to what arrives: 8 kHz, [ceil(N / 2)] or one less, in step with the original.

    codec: libsndfile's name, one of ``CODECS``.
    """
    narrow = pcm16(soxr.resample(samples, SAMPLE_RATE, TELEPHONE_RATE, quality="HQ"))
    file = io.BytesIO()
    soundfile.write(file, narrow, TELEPHONE_RATE, format="WAV", subtype=codec)
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="int16")
    # GSM has blocks of 160 samples: what is too much at the end is cut.
    heard: npt.NDArray[np.int16] = np.pad(decoded, (0, max(0, len(narrow) - len(decoded))))[: len(narrow)]
    return heard
