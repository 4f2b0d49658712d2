"""What the inputs and outputs of a streaming model in ONNX are called, and where its states have their batch axis.

Besides our own layout the two in which sherpa-onnx's streaming CTC models are published: icefall's zipformer2
(``export-onnx-streaming-ctc.py``) and NeMo's cache-aware models (``cache_support``). All three have the state of a
track as explicit inputs and outputs, so one engine runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


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
