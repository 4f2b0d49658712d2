"""What a stretch of a track sounded like, and what the first pass emitted for it, from log entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE, Position, to_client
from stenoflow.bus.entry import Entry
from stenoflow.runtime.look_back import Stretch

LEAST_LOG_PROB = -60.0
"""Log-probabilities are kept at or above this (and NaN becomes it), so that every text has a path."""


def sound_of(entries: Sequence[Entry], stretch: Stretch, sample_rate: int) -> NDArray[np.float32] | None:
    """The sound of a stretch.

    Args:
        entries: of the audio log, in order; client samples.
        stretch: what is wanted; what the log does not hold at its end is left out (the call may end there).
        sample_rate: the client's, Hz.

    Returns:
        mono float32 (N,) in [-1, 1] at 16 kHz; None where the log has lost its begin or a piece of it.
    """
    first, last = (to_client(Position(max(0, at)), sample_rate) for at in stretch)
    at: int = first
    pieces: list[bytes] = []
    for entry in entries:
        if entry.end <= at or entry.begin >= last or not entry.spans:
            continue
        if entry.begin > at:
            return None
        end = min(entry.end, last)
        pieces.append(entry.data[2 * (at - entry.begin) : 2 * (end - entry.begin)])
        at = end
    if not pieces:
        return None
    samples = np.frombuffer(b"".join(pieces), "<i2").astype(np.float32) / np.float32(32768.0)
    if sample_rate == SAMPLE_RATE:
        return samples
    resampled: NDArray[np.float32] = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return resampled


def emissions_of(
    entries: Sequence[Entry], stretch: Stretch, tokens: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
    """The first pass's emission frames inside a stretch.

    Args:
        entries: of the emissions log, in order.
        stretch: frames that begin in it are taken.
        tokens: of the vocabulary; frames of another size are left out.

    Returns:
        (positions, log_probs, hop): int64 (U,), float32 (U, V) and the samples of one frame; U may be 0.
    """
    positions: list[NDArray[np.int64]] = []
    frames: list[NDArray[np.float32]] = []
    hop = 0
    for entry in entries:
        if entry.frame_bytes != 2 * tokens:
            continue
        hop = entry.hop
        for span in entry.spans:
            begins = np.arange(span.begin, span.end, entry.hop, dtype=np.int64)
            block = np.frombuffer(entry.frames(span), "<f2").reshape(-1, tokens).astype(np.float32)
            inside = (begins >= stretch.begin) & (begins < stretch.end)
            positions.append(begins[inside])
            frames.append(block[inside])
    if not frames:
        return np.zeros(0, np.int64), np.zeros((0, tokens), np.float32), hop
    log_probs = np.clip(np.nan_to_num(np.concatenate(frames), nan=LEAST_LOG_PROB, posinf=0.0), LEAST_LOG_PROB, 0.0)
    return np.concatenate(positions), log_probs, hop
