"""A stateful ONNX model in torch, on a GPU or a CPU.

The states of all tracks lie on the device, one tensor a state, ``[slots + 2, ...]``, and never leave it: a step reads
its rows by slot and writes them back. Two rows are nobody's: *quiet* holds a segment's begin and is only read, by fresh
slots and by what fills a batch up; *waste* is only written, by the latter. So a slot's past cannot reach whoever comes
after, and nothing is copied to reset it.

Every shape of a run (tracks x steps) has its buffers, and on a GPU a CUDA graph that reads and writes them: some
hundred small kernels are then one call. It was run on processors only so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stenoflow.base.errors import ConfigError
from stenoflow.bundle.card import StatefulCard
from stenoflow.bundle.loading import Bundle
from stenoflow.bundle.tensors import load_tensors
from stenoflow_acoustic.engine import STEP_BUCKETS, Device, Floats, SlotPool, Slots, TorchOptions
from stenoflow_acoustic.layouts import LAYOUTS, check_layout
from stenoflow_acoustic.torch_device import torch_device
from stenoflow_acoustic.torch_graph import StepGraph

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}

RESERVE = 0.1
"""Part of the free memory that an offer leaves alone: allocators round up."""

WARM_RUNS = 2
"""Of each shape, so that libraries have chosen their kernels and made their workspaces before one is recorded."""


@dataclass(slots=True)
class Run:
    """What one shape of a run reads and writes.

    Args:
        host_rows, rows: int64 [2, B], the rows of the states that are read and that are written.
        host_features, features: float32 [B, T, F].
        host_log_probs, log_probs: float32 [B, U, V]; None until it first ran.
        graph: recorded, where graphs are used.
    """

    host_rows: Tensor
    rows: Tensor
    host_features: Tensor
    features: Tensor
    host_log_probs: Tensor | None = None
    log_probs: Tensor | None = None
    graph: torch.cuda.CUDAGraph | None = None


class TorchEngine:
    """The model of a bundle of our own layout.

    Args:
        bundle: verified.
        device: where to run; ``auto``: a GPU where torch sees one. What is asked for and missing is refused.
        slots: tracks that it has room for.
        options: see there.

    Raises:
        BundleError: the model and the card do not fit together.
        ConfigError: the device is not there or too small, or the model is of another layout.
    """

    def __init__(
        self, bundle: Bundle, *, device: Device = "auto", slots: int = 32, options: TorchOptions | None = None
    ) -> None:
        options = options or TorchOptions()
        card, acoustic = bundle.card, bundle.card.acoustic
        assert isinstance(acoustic, StatefulCard), "windowed bundles have no states"
        path = str(bundle.folder / acoustic.file)
        if acoustic.layout != "stenoflow":
            raise ConfigError(
                "engine_unsuited",
                f"{path} has the layout {acoustic.layout}, and the torch engine runs our own only: set "
                "STENOFLOW_ACOUSTIC_ENGINE=onnx",
            )
        self.device = torch_device(device)
        self.precision: str = options.precision or ("float32" if self.device == "cpu" else "bf16")
        self.step_buckets = STEP_BUCKETS
        self.batch_buckets = tuple(1 << power for power in range(options.largest_batch.bit_length()))
        self._cuda = self.device == "cuda"
        new_stream: Any = torch.cuda.Stream  # untyped in torch
        self._stream = new_stream() if self._cuda else None
        self._shared: Any = torch.cuda.graph_pool_handle() if self._cuda and options.graphs else None
        self._step_frames = acoustic.step_frames
        self._overlap = acoustic.heard_frames - acoustic.step_frames
        self._quiet = torch.tensor(card.features.flush_frame)
        self._layout = LAYOUTS[acoustic.layout]
        initial = load_tensors(bundle, acoustic.initial_state)
        try:
            content, where = bundle.read(acoustic.file), torch.device(self.device)
            self._graph = StepGraph(content, path, where, PRECISIONS[self.precision])
            check_layout(bundle, self._graph.inputs, self._graph.outputs, initial)
            self._initial = {name: torch.tensor(state, device=where) for name, state in initial.items()}
        except torch.OutOfMemoryError:
            raise ConfigError(
                "device_memory", f"{path} does not fit the memory of {self.device}: give it more"
            ) from None
        self._warm = False
        self._pool = SlotPool(0)
        self.resize(slots)

    @property
    def slot_bytes(self) -> int:
        """Memory of one track's states."""
        return sum(state.nbytes for state in self._initial.values())

    @torch.inference_mode()
    def resize(self, slots: int) -> None:
        """Makes room for so many tracks; only while no slot is taken. A warm engine stays warm.

        Raises:
            ConfigError: the device has no room for them; the message says how many would fit.
        """
        assert not self._pool.taken, "tracks are open"
        self._runs: dict[tuple[int, int], Run] = {}  # recorded graphs know where the states lay
        self._states: dict[str, Tensor] = {}
        with suppress(torch.OutOfMemoryError):
            self._states = {name: _copies(state, slots + 2) for name, state in self._initial.items()}
        if not self._states:  # only now is free again what was made before it failed
            fit = max(0, int((1 - RESERVE) * self._free_bytes() / self.slot_bytes) - 2)
            raise ConfigError(
                "device_memory",
                f"the memory of {self.device} has no room for {slots} tracks of {self.slot_bytes / 2**20:.1f} MiB "
                f"each; {fit} would fit: set STENOFLOW_ACOUSTIC_PLACES={max(fit, 1)}",
            )
        if self._cuda:
            torch.cuda.synchronize()  # runs have a stream of their own, which does not wait for this one
        self._pool = SlotPool(slots)
        self._fresh: set[int] = set()
        if self._warm:
            self.warm_up()

    def allocate(self) -> int:
        """A slot, at a segment's start."""
        slot = self._pool.allocate()
        self._fresh.add(slot)
        return slot

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        self._pool.free(slot)

    def reset(self, slots: Sequence[int]) -> None:
        """Puts slots into the state at a segment's start: their next run reads the quiet row instead of their own."""
        self._fresh.update(slots)

    @torch.inference_mode()
    def run(self, slots: Slots, features: Floats) -> Floats:
        """See :meth:`stenoflow_acoustic.engine.Engine.run`."""
        count = len(slots)
        bucket = next(size for size in self.batch_buckets if size >= count)
        run = self._run_of(bucket, (features.shape[1] - self._overlap) // self._step_frames)
        rows, heard = run.host_rows.numpy(), run.host_features.numpy()
        rows[0, :count] = [self._pool.size if slot in self._fresh else slot for slot in slots]
        rows[1, :count] = slots
        heard[:count] = features
        self._blank(run, count)
        said: Floats = self._carry_out(run)[:count].numpy().copy()
        self._fresh.difference_update(slots.tolist())
        return said

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Runs every bucket, and records it where there are graphs; no slot's state changes.

        Raises:
            ConfigError: the device has no room for a batch; the message says which would fit.
        """
        fits = 0
        try:
            for bucket in self.batch_buckets:
                for steps in self.step_buckets:
                    run = self._run_of(bucket, steps)
                    self._blank(run, 0)
                    for _ in range(WARM_RUNS):
                        self._carry_out(run)
                    if self._shared is not None:
                        self._record(run)
                fits = bucket
        except torch.OutOfMemoryError:
            self._runs = {}
            advice = (
                f"batches of {fits} would fit: set STENOFLOW_ACOUSTIC_LARGEST_BATCH={fits}, or fewer "
                f"STENOFLOW_ACOUSTIC_PLACES than {self._pool.size}"
                if fits
                else f"not even one track does: set fewer STENOFLOW_ACOUSTIC_PLACES than {self._pool.size}"
            )
            raise ConfigError(
                "device_memory",
                f"the memory of {self.device} has no room for batches of {self.batch_buckets[-1]} tracks beside "
                f"{self._pool.size} places; {advice}",
            ) from None
        self._warm = True

    def _run_of(self, bucket: int, steps: int) -> Run:
        """The buffers of a shape, made when it is first met."""
        if (bucket, steps) not in self._runs:
            frames = steps * self._step_frames + self._overlap
            rows = torch.empty(2, bucket, dtype=torch.int64, pin_memory=self._cuda)
            features = torch.empty(bucket, frames, len(self._quiet), pin_memory=self._cuda)
            # On a CPU both are one: to() copies nothing there.
            self._runs[bucket, steps] = Run(rows, rows.to(self.device), features, features.to(self.device))
        return self._runs[bucket, steps]

    def _blank(self, run: Run, count: int) -> None:
        """Fills a batch up from its `count` rows on, with what is nobody's."""
        run.host_rows[0, count:] = self._pool.size
        run.host_rows[1, count:] = self._pool.size + 1
        run.host_features[count:] = self._quiet

    def _carry_out(self, run: Run) -> Tensor:
        """Buffers in, the step, log-probabilities out; waits for them."""
        if self._stream is None:
            return self._step(run)
        with torch.cuda.stream(self._stream):
            run.rows.copy_(run.host_rows, non_blocking=True)
            run.features.copy_(run.host_features, non_blocking=True)
            if run.graph is None:
                run.log_probs = self._step(run)
            else:
                run.graph.replay()
            assert run.log_probs is not None
            if run.host_log_probs is None:
                run.host_log_probs = torch.empty_like(run.log_probs, device="cpu", pin_memory=True)
            run.host_log_probs.copy_(run.log_probs, non_blocking=True)
        self._stream.synchronize()
        return run.host_log_probs

    def _record(self, run: Run) -> None:
        """Records the step of a shape, which has run before."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._shared, stream=self._stream):
            run.log_probs = self._step(run)
        run.graph = graph

    def _step(self, run: Run) -> Tensor:
        """One step of the batch in the buffers, all on the device."""
        layout, (read, written) = self._layout, run.rows
        states = {layout.state_in(name): state.index_select(0, read) for name, state in self._states.items()}
        after = self._graph({layout.features: run.features, **states})
        for name, state in self._states.items():
            state.index_copy_(0, written, after[layout.state_out(name)])
        return after[layout.log_probs]

    def _free_bytes(self) -> int:
        if self._cuda:
            torch.cuda.empty_cache()
            return int(torch.cuda.mem_get_info()[0])
        return 0


def _copies(state: Tensor, count: int) -> Tensor:
    made = torch.empty(count, *state.shape, dtype=state.dtype, device=state.device)
    made[:] = state
    return made
