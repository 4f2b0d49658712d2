"""The frames of an emissions entry as numbers: what the decoder hears, and what a second pass aligns words to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stenoflow.bus.entry import Entry

LEAST_LOG_PROB = -60.0
"""Log-probabilities are kept at or above this (and NaN becomes it), so that every text has a path."""


def frames_of(entry: Entry, tokens: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Where the entry's frames begin, int64 (U,), and what they say, float32 (U, V), natural logarithms.

    Args:
        entry: of an emissions log, with ``frame_bytes`` of V float16 numbers if it has spans.
        tokens: V.
    """
    if not entry.spans:
        return np.zeros(0, np.int64), np.zeros((0, tokens), np.float32)
    assert entry.frame_bytes == 2 * tokens, (
        f"emissions of {entry.track} have {entry.frame_bytes} bytes a frame; the bundle's {tokens} tokens make "
        f"{2 * tokens}"
    )
    frames = np.frombuffer(entry.data, "<f2").reshape(-1, tokens).astype(np.float32)
    frames = np.clip(np.nan_to_num(frames, nan=LEAST_LOG_PROB, posinf=0.0), LEAST_LOG_PROB, 0.0)
    starts = [
        np.arange((span.end - span.begin) // entry.hop, dtype=np.int64) * entry.hop + span.begin for span in entry.spans
    ]
    return np.concatenate(starts), frames
