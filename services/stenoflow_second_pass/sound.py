"""What a stretch of a track sounded like, and what the first pass emitted for it, from log entries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE, Position, to_client
from stenoflow.bus.entry import Entry
from stenoflow.runtime.emissions import frames_of
from stenoflow.runtime.look_back import Stretch


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
        if entry.end <= at or entry.begin >= last:
            continue
        if entry.begin > at:
            return None
        end = min(entry.end, last)
        pieces.append(_whole(entry)[2 * (at - entry.begin) : 2 * (end - entry.begin)])
        at = end
    if not pieces:
        return None
    samples = np.frombuffer(b"".join(pieces), "<i2").astype(np.float32) / np.float32(32768.0)
    if sample_rate == SAMPLE_RATE:
        return samples
    resampled: NDArray[np.float32] = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return resampled


def _whole(entry: Entry) -> bytes:
    """An entry's samples; zeros where no span covers them (a track that was paused)."""
    if len(entry.data) == 2 * (entry.end - entry.begin):
        return entry.data
    samples = bytearray(2 * (entry.end - entry.begin))
    for span in entry.spans:
        samples[2 * (span.begin - entry.begin) : 2 * (span.end - entry.begin)] = entry.frames(span)
    return bytes(samples)


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
    taken = [entry for entry in entries if entry.spans and entry.frame_bytes == 2 * tokens]
    if not taken:
        return np.zeros(0, np.int64), np.zeros((0, tokens), np.float32), 0
    of_each = [frames_of(entry, tokens) for entry in taken]
    positions = np.concatenate([begins for begins, _ in of_each])
    inside = (positions >= stretch.begin) & (positions < stretch.end)
    return positions[inside], np.concatenate([frames for _, frames in of_each])[inside], taken[-1].hop
