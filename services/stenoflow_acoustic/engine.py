"""The port to a model that runs: slots of state, fixed buckets, one call for many tracks.

ONNX Runtime on a CPU stands behind it in ``onnx_engine``; a torch module on a GPU can stand there too. The stage
knows this port and nothing of what is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from stenoflow.base.errors import StenoflowError

Floats: TypeAlias = npt.NDArray[np.float32]
Slots: TypeAlias = npt.NDArray[np.intp]

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)
"""Batch sizes that the model is ever run with: warmed up, so none of them is slow at its first use."""

STEP_BUCKETS = (1, 2, 4, 8)
"""Numbers of steps in one run; a longer stretch is cut into these."""


class Engine(Protocol):
    """A warm model with the states of many tracks. Not for two threads at once."""

    @property
    def device(self) -> str:
        """Where it runs, for people: ``cpu``, ``cuda``."""
        ...

    @property
    def precision(self) -> str:
        """``int8``, ``float32``."""
        ...

    @property
    def batch_buckets(self) -> Sequence[int]:
        """Batch sizes, ascending."""
        ...

    @property
    def step_buckets(self) -> Sequence[int]:
        """Numbers of steps, ascending, from 1 on."""
        ...

    def allocate(self) -> int:
        """A slot, its state undefined until :meth:`reset`; raises :class:`NoFreeSlotError` where there is none."""
        ...

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        ...

    def reset(self, slots: Sequence[int]) -> None:
        """Puts slots into the state at a segment's start."""
        ...

    def run(self, slots: Slots, features: Floats) -> Floats:
        """Advances the states of some slots.

        Args:
            slots: [B], no slot twice, B at most the largest bucket.
            features: float32 [B, T * step_frames, F], T one of ``step_buckets``.

        Returns:
            natural log-probabilities, float32 [B, T * E, V], as the model gives them: its look-ahead is still in.
        """
        ...

    def warm_up(self) -> None:
        """Runs every bucket once; no slot's state changes."""
        ...

    def resize(self, slots: int) -> None:
        """Makes room for so many tracks; only while no slot is taken."""
        ...


class NoFreeSlotError(StenoflowError):
    """All slots are taken: more tracks were opened than the engine has places."""

    def __init__(self, slots: int) -> None:
        super().__init__("no_free_slot", f"all {slots} places of the model are taken; raise places", retryable=True)


class SlotPool:
    """Which of a fixed number of slots are free; the lowest goes first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = list(range(size - 1, -1, -1))

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self.size - len(self._free)

    def allocate(self) -> int:
        """Takes a slot; raises :class:`NoFreeSlotError` where there is none."""
        if not self._free:
            raise NoFreeSlotError(self.size)
        return self._free.pop()

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        assert 0 <= slot < self.size and slot not in self._free, f"slot {slot} is given back twice"
        self._free.append(slot)
