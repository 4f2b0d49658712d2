"""What the inputs and outputs of a streaming model in ONNX are called, and where its states have their batch axis.

Besides our own layout the two in which sherpa-onnx's streaming CTC models are published: icefall's zipformer2
(``export-onnx-streaming-ctc.py``) and NeMo's cache-aware models (``cache_support``). All three have the state of a
track as explicit inputs and outputs, so one engine runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import StatefulCard
from stenoflow.bundle.loading import Bundle

STATE_TYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
"""What a state may be made of, by ONNX Runtime's name for it."""


class Port(Protocol):
    """An input or output of a model, as ONNX Runtime describes one."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def type(self) -> str:
        """``tensor(float)``, ``tensor(int64)``, …"""
        ...

    @property
    def shape(self) -> Sequence[int | str | None]:
        """Sizes; a name or None where one may vary."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and axes.

    Args:
        features: input, float32 [B, T, F].
        log_probs: output, float32 [B, U, V].
        state_in: a state's input, from its name.
        state_out: and its output.
        batch_axis: of a state, from its name.
        frames_last: features are [B, F, T].
        length: input int64 [B], the number of frames, where there is one.
        one_step: a run is one step; else as many as one likes.
    """

    features: str
    log_probs: str
    state_in: Callable[[str], str]
    state_out: Callable[[str], str]
    batch_axis: Callable[[str], int]
    frames_last: bool = False
    length: str | None = None
    one_step: bool = True


ZIPFORMER_FIRST = ("cached_conv", "embed_states", "processed_lens")
"""States of zipformer2 with the batch first; in the others (attention) it is second."""

LAYOUTS = {
    "stenoflow": Layout(
        "features", "log_probs", lambda name: f"state_{name}", lambda name: f"next_{name}", lambda _: 0, one_step=False
    ),
    "zipformer2": Layout(
        "x",
        "log_probs",
        lambda name: name,
        lambda name: f"new_{name}",
        lambda name: 0 if name.startswith(ZIPFORMER_FIRST) else 1,
    ),
    "nemo": Layout(
        "audio_signal",
        "logprobs",
        lambda name: name,
        lambda name: name.removesuffix("_len") + "_next" + ("_len" if name.endswith("_len") else ""),
        lambda _: 0,
        frames_last=True,
        length="length",
    ),
}


def check_layout(
    bundle: Bundle, taken: Iterable[Port], given: Iterable[Port], initial: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Names, types and shapes of all inputs and outputs, before the first call comes.

    Args:
        bundle: a stateful one.
        taken: the model's inputs.
        given: its outputs.
        initial: first value of each state, by name.

    Raises:
        BundleError: they do not fit the card.
    """
    card, acoustic = bundle.card, bundle.card.acoustic
    assert isinstance(acoustic, StatefulCard), "windowed bundles have no states"
    layout = LAYOUTS[acoustic.layout]
    inputs, outputs = {port.name: port for port in taken}, {port.name: port for port in given}

    def refuse(what: str) -> BundleError:
        return BundleError(
            "bundle_layout",
            f"{bundle.folder / acoustic.file} does not fit its card: {what}; export it again (the layout is in "
            "services/stenoflow_acoustic/README.md)",
        )

    wanted = {layout.features, *map(layout.state_in, initial)} | ({layout.length} if layout.length else set())
    if set(inputs) != wanted:
        raise refuse(f"inputs {sorted(inputs)} instead of {sorted(wanted)}")
    wanted = {layout.log_probs, *map(layout.state_out, initial)}
    if not wanted <= set(outputs):
        raise refuse(f"outputs {sorted(outputs)} instead of {sorted(wanted)}")
    features = inputs[layout.features]
    if features.type != "tensor(float)" or features.shape[1 if layout.frames_last else -1] != card.features.bins:
        raise refuse(f"features are {features.shape}, bins is {card.features.bins}")
    symbols = outputs[layout.log_probs].shape[-1]
    if outputs[layout.log_probs].type != "tensor(float)" or (
        isinstance(symbols, int) and symbols != len(card.tokens.symbols)
    ):
        raise refuse(f"log_probs has {symbols} symbols, the card {len(card.tokens.symbols)}")
    for name, state in initial.items():
        node = inputs[layout.state_in(name)]
        if STATE_TYPES.get(node.type) is not state.dtype.type or len(node.shape) != state.ndim + 1:
            raise refuse(f"state {name} is {node.type} {node.shape}, its first value {state.dtype} {state.shape}")
        shape = _without_batch(node.shape, layout, name)
        if any(isinstance(size, int) and size != own for size, own in zip(shape, state.shape, strict=True)):
            raise refuse(f"state {name} is {node.shape}, its first value {state.shape}")


def _without_batch(shape: Sequence[Any], layout: Layout, name: str) -> list[Any]:
    axis = layout.batch_axis(name)
    return [size for at, size in enumerate(shape) if at != axis]
