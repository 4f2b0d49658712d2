"""The port to a model that runs: slots of state, fixed buckets, one call for many tracks.

ONNX Runtime stands behind it in ``onnx_engine``, torch in ``torch_engine``. The stage knows this port and nothing of
what is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from stenoflow.base.errors import StenoflowError

Floats: TypeAlias = npt.NDArray[np.float32]
Slots: TypeAlias = npt.NDArray[np.intp]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["bf16", "fp16", "float32"]

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
        """``int8``, ``float32``, ``bf16``, ``fp16``."""
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
        """Makes room for so many tracks; only while no slot is taken. A warm engine stays warm."""
        ...


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """How the torch engine serves.

    Args:
        precision: of products; None: ``bf16`` on a GPU, ``float32`` on a CPU.
        largest_batch: tracks in one run, a power of two.
        graphs: record each shape of a run as a CUDA graph; on a CPU there are none.
    """

    precision: Precision | None = None
    largest_batch: int = 256
    graphs: bool = True


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
