"""What a bundle hears, made of windows of sound: log-mel, cepstra, or the sound itself."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stenoflow.bundle.card import FEATURES, KALDI, FbankCard, MfccCard, WaveformCard
from stenoflow_features.filterbank import HOP, Cepstra, Filterbank
from stenoflow_features.resample import Samples

KINDS = 16
"""So many kinds of features stay built: one a bundle that is served."""


class FrontEnd:
    """Makes frames of one kind; frames know nothing of each other.

    Args:
        card: the kind.
    """

    def __init__(self, card: FbankCard | MfccCard | WaveformCard = KALDI) -> None:
        self._make = None if isinstance(card, WaveformCard) else _maker(card)
        self.frame_bytes = 2 * card.bins
        """One frame on the wire: float16, or int16 of a waveform; little-endian."""

    def frames(self, rows: Samples) -> bytes:
        """The frames of windows (T, 400), float32 in int16 units."""
        if self._make is None:
            samples = np.clip(np.rint(rows[:, -HOP:]), -32_768, 32_767)
            return samples.astype("<i2").tobytes()
        return self._make(rows).astype("<f2").tobytes()


@lru_cache(KINDS)
def front_end_of(asked: str) -> FrontEnd:
    """The front end that a session's record asks for; see :func:`stenoflow.bundle.card.asked`."""
    return FrontEnd(FEATURES.validate_json(asked)) if asked else FrontEnd()


def _maker(card: FbankCard) -> Filterbank | Cepstra:
    return Cepstra(card) if isinstance(card, MfccCard) else Filterbank(card)
