"""A student with random weights, small enough for tests, and ways to run its served forms in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from stenoflow_trainer.export import STATES, build_graph
from stenoflow_trainer.model import BINS, Merged, Shape, State, Student

Array = npt.NDArray[np.float32]
Step = Callable[[Array, dict[str, Array]], tuple[Array, dict[str, Array]]]


MEMORY = Shape(strides=((1, 2, 4), (1, 2), (2,)), delays=(2, 4, 6), hidden=96)
CONFORMER = Shape(strides=((1,), (2,), (1,)), delays=(0, 2, 4), hidden=96, architecture="conformer", left=6)


def student(shape: Shape = MEMORY) -> Student:
    """Three segments; every parameter is moved off its initial value, so that none hides behind a 0 or 1."""
    torch.manual_seed(7)
    made = Student(shape, torch.randn(BINS) + 8.0, torch.rand(BINS) + 2.0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


def log_mel(batch: int, steps: int, seed: int = 1) -> Array:
    """Something like log-mel features, [batch, 4 steps, 80]."""
    draw = np.random.default_rng(seed)
    smooth = draw.standard_normal((batch, 4 * steps, 1)) * 2.0
    return (8.0 + smooth + draw.standard_normal((batch, 4 * steps, BINS)) * 2.0).astype(np.float32)


def onnx_step(merged: Merged, *, int8: bool) -> Step:
    """The exported graph as a function."""
    return onnx_session(build_graph(merged, int8=int8).SerializeToString())


def onnx_session(model: bytes) -> Step:
    """A graph as a function, under ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def step(features: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        feed = {"features": features} | {f"state_{name}": state[name] for name in STATES}
        outputs = session.run(["log_probs", *(f"next_{name}" for name in STATES)], feed)
        return outputs[0], dict(zip(STATES, outputs[1:], strict=True))

    return step


def torch_step(merged: Merged) -> Step:
    """The merged torch form as a function of arrays."""

    def step(features: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        given: State = {name: torch.from_numpy(value) for name, value in state.items()}
        log_probs, following = merged.forward_chunk(torch.from_numpy(features), given)
        return log_probs.numpy(), {name: value.numpy() for name, value in following.items()}

    return step


def initial(merged: Merged, batch: int) -> dict[str, Array]:
    """Initial states as arrays."""
    return {name: value.numpy() for name, value in merged.initial_state(batch).items()}


def in_chunks(
    step: Step, state: dict[str, Array], features: Array, cuts: Sequence[int]
) -> tuple[Array, dict[str, Array]]:
    """Runs `features` in chunks of so many steps, the cuts over and over."""
    outputs, begin, turn = [], 0, 0
    while begin < features.shape[1]:
        end = begin + 4 * cuts[turn % len(cuts)]
        log_probs, state = step(features[:, begin:end], state)
        outputs.append(log_probs)
        begin, turn = end, turn + 1
    return np.concatenate(outputs, axis=1), state


def whole(made: Student, features: Array, chunk: int = 0) -> Tensor:
    """The training form over the whole input, [B, 2 T, 29]."""
    with torch.no_grad():
        return made(torch.from_numpy(features), chunk=chunk)[1].flatten(1, 2)
