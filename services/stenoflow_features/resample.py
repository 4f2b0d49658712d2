"""Any accepted client rate to 16 kHz: a streaming polyphase FIR with a finite memory.

Here lives the filter and its arithmetic. Here never lives anything that knows of speech, frames or entries.

All work is done in blocks of 10 ms on the grid where client positions and 16 kHz positions meet, so an output
sample is the same sum of the same products in the same order whatever the chunking (DESIGN 2, sentence 3).
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import CLIENT_RATES, GRID, SAMPLE_RATE

Samples = NDArray[np.float32]
"""(N,) samples in int16 units: full scale is 32768, as Kaldi counts."""

ZERO_CROSSINGS: Final = 32
"""Lobes of the sinc on either side. With the Kaiser window below: flat to 7.2 kHz, 80 dB down from 8.2 kHz on."""

ROLL_OFF: Final = 0.96
"""Cut-off (-6 dB) as a share of the lower Nyquist frequency: leaves room for the transition band."""

KAISER_BETA: Final = 8.0
"""About 80 dB of stop band, which is below the noise of 16-bit sound spread over the band."""

_BLOCKS_AT_ONCE: Final = 64
"""Bounds the gathered windows (64 x 160 x 200 float32 = 8 MB), however long an entry is."""


@lru_cache(maxsize=len(CLIENT_RATES))
def _filter(sample_rate: int) -> tuple[Samples, NDArray[np.intp], int]:
    """Taps (GRID, K), first input sample of each output (GRID,) relative to its block's memory, and K / 2."""
    block = sample_rate // 100
    cutoff = ROLL_OFF * min(sample_rate, SAMPLE_RATE) / 2
    half = ceil(ZERO_CROSSINGS / (2 * cutoff) * sample_rate)
    outputs = np.arange(GRID)
    first = outputs * block // GRID
    # Tap k of output j hears input first[j] - half + 1 + k; the output itself lies at j * block / GRID.
    lag = (first[:, None] - half + 1 + np.arange(2 * half)) - outputs[:, None] * block / GRID
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (lag / half) ** 2)))
    taps = np.sinc(2 * cutoff / sample_rate * lag) * window
    taps /= taps.sum(axis=1, keepdims=True)  # each phase passes a constant unchanged: no hum at the phase rate
    return taps.astype(np.float32), first, half


class Resampler:
    """One track's way to 16 kHz.

    Args:
        sample_rate: the client's, one of ``CLIENT_RATES``, Hz.
        start: client position of the first sample that will be pushed, on the 10 ms grid. Sound before it counts as
            zeros; so outputs are exact from ``start + memory`` on, and from ``start`` on where the track begins there.

    Attributes:
        memory: client samples before a grid position that its output depends on; also how far the filter looks
            ahead (0 at 16 kHz, else 2.1 to 4.3 ms).
        produced: 16 kHz position up to which output was given.
    """

    def __init__(self, sample_rate: int, start: int) -> None:
        block = sample_rate // 100
        assert sample_rate in CLIENT_RATES and start % block == 0, (sample_rate, start)
        self._block = block
        self._passes = sample_rate == SAMPLE_RATE
        self._taps, self._first, half = _filter(sample_rate)
        self.memory = 0 if self._passes else half
        self.produced = start // block * GRID
        self._kept: Samples = np.zeros(self.memory, np.float32)
        self._kept_from = start - self.memory

    @staticmethod
    def memory_at(sample_rate: int) -> int:
        """``memory`` of a resampler at this rate, client samples."""
        return 0 if sample_rate == SAMPLE_RATE else _filter(sample_rate)[2]

    def push(self, samples: Samples) -> Samples:
        """Takes the next client samples (N,) and gives the 16 kHz samples of all 10 ms blocks that are now settled."""
        if len(samples):
            self._kept = np.concatenate([self._kept, samples])
        return self._advance(self._received - self.memory)

    def flush(self) -> Samples:
        """Gives the output up to what was pushed, floored to 10 ms, as if zeros followed.

        Later output does not depend on it: the sound that was pushed stays in memory, the zeros do not.
        """
        kept = self._kept
        self._kept = np.concatenate([kept, np.zeros(self.memory, np.float32)])
        output = self._advance(self._received - self.memory)
        self._kept = kept[len(kept) - (len(self._kept) - self.memory) :]
        return output

    @property
    def _received(self) -> int:
        return self._kept_from + len(self._kept)

    def _advance(self, settled: int) -> Samples:
        """Output of the whole blocks from ``produced`` to client position ``settled``; forgets what is behind them."""
        begin = self.produced // GRID
        blocks = settled // self._block - begin
        if blocks <= 0:
            return np.zeros(0, np.float32)
        offset = begin * self._block - self.memory - self._kept_from
        if self._passes:
            output = self._kept[offset : offset + blocks * self._block]
        else:
            pieces = [
                self._convolve(offset + at * self._block, min(_BLOCKS_AT_ONCE, blocks - at))
                for at in range(0, blocks, _BLOCKS_AT_ONCE)
            ]
            output = np.concatenate(pieces)
        self.produced += blocks * GRID
        done = offset + blocks * self._block
        self._kept, self._kept_from = self._kept[done:], self._kept_from + done
        return output

    def _convolve(self, offset: int, blocks: int) -> Samples:
        """Output of ``blocks`` blocks; the memory of the first one begins at ``offset`` in what is kept."""
        taps = self._taps.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(self._kept, taps)
        # + 1: tap 0 lies half - 1 before the output's input sample, and the memory begins half before it.
        rows = offset + 1 + np.arange(blocks)[:, None] * self._block + self._first[None, :]
        gathered = windows[rows.ravel()].reshape(blocks, GRID, taps)
        # Not a matrix product: BLAS may add in another order for another number of rows.
        output: Samples = np.einsum("bjk,jk->bj", gathered, self._taps).reshape(-1)
        return output
