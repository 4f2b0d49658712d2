"""When Whisper's words were said, by its cross-attention (CTranslate2's ``align``), as faster-whisper computes it.

Radford et al. 2022 and openai/whisper ``timing.py``: dynamic time warping over the attention of chosen heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stenoflow_second_pass.models.whisper import FULL, WhisperModel, log_mel

HOP = 160
MARGIN = 100
"""Frames of 10 ms: of a sound, and of the silence that the window keeps after it."""
FRAME_S = 0.02
"""Of the attention."""


def word_times(
    model: WhisperModel, samples: NDArray[np.float32], words: Sequence[str]
) -> list[tuple[float, float]] | None:
    """Begin and end of each word, seconds; None where the attention gives no path.

    Args:
        model: which read them.
        samples: the sound.
        words: as they stand in the reading, split at spaces; at least one.
    """
    pieces = [model._tokens.encode(f" {word}", add_special_tokens=False).ids for word in words]
    frames = -(-len(samples) // HOP)
    # The encoder's window of `WhisperModel.read`: as long as the sound, filled up with what silence gives.
    window = min(FULL, -(-(frames + MARGIN) // 2) * 2)
    heard = model._encode(log_mel(samples, window, model._model.n_mels)[None])
    filled = np.ascontiguousarray(np.concatenate([heard, model._silence[:, heard.shape[1] :]], axis=1))
    tokens = [token for piece in pieces for token in piece]
    opening = model._opening[:-1]  # without <|notimestamps|>, which `align` puts there itself
    path = np.array(model._model.align(model._view(filled), opening, [tokens], [min(frames, FULL)])[0].alignments)
    if not len(path):
        return None
    # The first frame of each token, the end token's last: a word ends where the next begins.
    changes = np.flatnonzero(np.diff(path[:, 0], prepend=-1))
    first = path[changes, 1] * FRAME_S
    edges = np.cumsum([0, *map(len, pieces)])
    if len(first) <= edges[-1]:
        return None
    return [(float(first[begin]), float(first[end])) for begin, end in pairwise(edges)]
