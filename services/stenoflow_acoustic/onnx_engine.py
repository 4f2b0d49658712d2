"""A stateful ONNX model under ONNX Runtime, one thread.

The states of all tracks lie in one numpy array a state, ``[slots + 1, ...]``. For a run the rows of its slots are
gathered into a batch of a bucket's size and scattered back after it. The last row is nobody's: it fills batches up
and never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.card import StatefulCard
from stenoflow.bundle.loading import Bundle
from stenoflow.bundle.tensors import load_tensors
from stenoflow_acoustic.engine import BATCH_BUCKETS, STEP_BUCKETS, Device, Floats, SlotPool, Slots
from stenoflow_acoustic.layouts import LAYOUTS, check_layout

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxEngine:
    """The model of a bundle.

    Args:
        bundle: verified.
        device: where to run; what is asked for and missing is refused, never replaced in silence.
        slots: tracks that it has room for.

    Raises:
        BundleError: the model and the card do not fit together.
        ConfigError: the device is not there.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto", slots: int = 32) -> None:
        card, acoustic = bundle.card, bundle.card.acoustic
        assert isinstance(acoustic, StatefulCard), "windowed bundles have no states"
        self._layout = LAYOUTS[acoustic.layout]
        self._step_frames = acoustic.step_frames
        self._overlap = acoustic.heard_frames - acoustic.step_frames
        self._quiet = np.array(card.features.flush_frame, np.float32)
        self.precision: str = acoustic.precision
        providers = providers_for(device, self.precision)
        self.device = "cuda" if CUDA in providers else "cpu"
        self.step_buckets = STEP_BUCKETS[:1] if self._layout.one_step else STEP_BUCKETS
        self._session = open_session(bundle.folder / acoustic.file, bundle.read(acoustic.file), providers)
        self._initial = load_tensors(bundle, acoustic.initial_state)
        check_layout(bundle, self._session.get_inputs(), self._session.get_outputs(), self._initial)
        self.batch_buckets = BATCH_BUCKETS[:1] if self._must_be_alone() else BATCH_BUCKETS
        self._names = list(self._initial)
        self._outputs = [self._layout.log_probs, *map(self._layout.state_out, self._names)]
        self._pool = SlotPool(0)
        self.resize(slots)

    def _must_be_alone(self) -> bool:
        """Whether tracks may not share a batch: the model has no batch axis, or may have one int8 scale for all rows.

        Our own export has a scale a row; with others a loud call would move a quiet one's log-probabilities.
        """
        shapes = {node.name: node.shape for node in self._session.get_inputs()}
        foreign = self._layout is not LAYOUTS["stenoflow"]
        return isinstance(shapes[self._layout.features][0], int) or (foreign and self.precision == "int8")

    def resize(self, slots: int) -> None:
        """Makes room for so many tracks; only while no slot is taken."""
        assert not self._pool.taken, "tracks are open"
        self._pool = SlotPool(slots)
        self._states = {name: np.stack([state] * (slots + 1)) for name, state in self._initial.items()}

    def allocate(self) -> int:
        """A slot, its state undefined until :meth:`reset`."""
        return self._pool.allocate()

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        self._pool.free(slot)

    def reset(self, slots: Sequence[int]) -> None:
        """Puts slots into the state at a segment's start."""
        for name, state in self._initial.items():
            self._states[name][list(slots)] = state

    def run(self, slots: Slots, features: Floats) -> Floats:
        """See :meth:`stenoflow_acoustic.engine.Engine.run`."""
        rows = len(slots)
        bucket = next(size for size in self.batch_buckets if size >= rows)
        index = np.full(bucket, self._pool.size, np.intp)
        index[:rows] = slots
        batch = np.empty((bucket, *features.shape[1:]), np.float32)
        batch[:rows] = features
        batch[rows:] = self._quiet
        log_probs, after = self._step(batch, {name: states[index] for name, states in self._states.items()})
        for name, state in after.items():
            self._states[name][slots] = state[:rows]
        found: Floats = log_probs[:rows]
        return found

    def warm_up(self) -> None:
        """Runs every bucket once; no slot's state changes."""
        for rows in self.batch_buckets:
            for steps in self.step_buckets:
                frames = steps * self._step_frames + self._overlap
                features = np.broadcast_to(self._quiet, (rows, frames, len(self._quiet)))
                states = {name: np.stack([state] * rows) for name, state in self._initial.items()}
                self._step(np.ascontiguousarray(features), states)

    def _step(
        self, features: Floats, states: dict[str, npt.NDArray[Any]]
    ) -> tuple[Floats, dict[str, npt.NDArray[Any]]]:
        """Features [B, T, F] and states [B, ...] in, log-probabilities and the states after it out."""
        layout, names = self._layout, self._names
        heard = np.ascontiguousarray(features.transpose(0, 2, 1)) if layout.frames_last else features
        feeds: dict[str, npt.NDArray[Any]] = {layout.features: heard}
        if layout.length is not None:
            feeds[layout.length] = np.full(len(features), features.shape[1], np.int64)
        for name in names:
            feeds[layout.state_in(name)] = np.ascontiguousarray(np.moveaxis(states[name], 0, layout.batch_axis(name)))
        log_probs, *after = self._session.run(self._outputs, feeds)
        moved = (np.moveaxis(state, layout.batch_axis(name), 0) for name, state in zip(names, after, strict=True))
        return log_probs, dict(zip(names, moved, strict=True))


def providers_for(device: Device, precision: str) -> list[str]:
    """Where ONNX Runtime is to run, best first.

    Raises:
        ConfigError: the device that was asked for is missing.
    """
    here = onnxruntime.get_available_providers()
    if device == "cuda" and CUDA not in here:
        raise ConfigError(
            "device_missing",
            "device cuda was asked for, but this ONNX Runtime has no CUDA: install onnxruntime-gpu on a machine with "
            "an NVIDIA GPU, or set STENOFLOW_ACOUSTIC_DEVICE=cpu",
        )
    # int8 kernels are the CPU's: on a GPU the same bundle would be slower than here.
    if device == "cuda" or (device == "auto" and CUDA in here and precision != "int8"):
        return [CUDA, CPU]
    return [CPU]


def open_session(path: Path, content: bytes, providers: list[str]) -> Any:
    """A model, one thread.

    Args:
        path: for messages.
        content: the file's.
        providers: see :func:`providers_for`.

    Raises:
        BundleError: it is no model.
        ConfigError: the GPU cannot be used.
    """
    options = onnxruntime.SessionOptions()
    # One thread a process, processes as many as cores; a spinning thread steals from its neighbours (PLATFORM 4).
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except _LOAD_ERRORS as error:
        raise BundleError("bundle_model", f"{path} is no model for ONNX Runtime: {error}") from None
    if CUDA in providers and CUDA not in session.get_providers():
        raise ConfigError(
            "device_missing",
            "the GPU cannot be used (driver, CUDA or cuDNN are missing or too old): mend it, or set "
            "STENOFLOW_ACOUSTIC_DEVICE=cpu",
        )
    return session
