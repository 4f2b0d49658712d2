"""A streaming bundle of ours in sherpa-onnx's zipformer2 CTC layout, so that sherpa-onnx runs it.

The model's own graph stays as it is. Around it, in the same file:

1. Features. sherpa-onnx makes Kaldi's too, but of sound from -1 to 1 and with its highest band at 7,600 Hz. The scale
   is a constant. The bands lie a little lower than ours, so ours are interpolated between theirs: exact where a
   spectrum is straight between two bands, and for the last ones, which reach higher, the nearest stands in.
2. States. All of a track's are one row of ``cached_key_0``. sherpa-onnx begins with zeros, so where nothing has been
   processed the initial state takes their place. The layout's other states are handed through.

Frames lie 7.5 ms later than ours (``snip_edges`` is off there), which no model minds. The n-gram stays behind.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from stenoflow.audio.mel import kaldi_mel, kaldi_triangles
from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.card import KALDI, FbankCard, StatefulCard, asked
from stenoflow.bundle.loading import Bundle
from stenoflow.bundle.tensors import load_tensors
from stenoflow_acoustic.adding.onnx_ctc import EMISSION, LOOK_AHEAD, MODEL, SHERPA, TOKENS
from stenoflow_acoustic.engine import Floats

_MOST_FRAMES = 16
"""A run of more would save little and show captions later."""

COUNTED_MS = 40
"""sherpa-onnx takes every emission of this layout for so long, whatever a model's are."""

_BLANK = "<blk>"
"""By this name sherpa-onnx knows the blank."""

_ROW = "cached_key_0"

_SPARE: dict[str, list[int | str]] = {
    "cached_nonlin_attn_0": [1, "N", 1, 3],
    "cached_val1_0": [1, "N", 1],
    "cached_val2_0": [1, "N", 1],
    "cached_conv1_0": ["N", 4, 1],
    "cached_conv2_0": ["N", 4, 1],
    "embed_states": ["N", 128, 3, 19],
}
"""States of the layout that we have no use for, as small as its metadata lets them be."""


def export_sherpa(bundle: Bundle, folder: Path) -> int:
    """Writes ``model.onnx``, ``tokens.txt`` and a README.

    Args:
        bundle: verified.
        folder: made; what is there already is refused.

    Returns:
        Feature frames per run.

    Raises:
        BundleError: the bundle is not of our own streaming layout, or hears other features; or the folder is there.
        ConfigError: the library that writes ONNX is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError(
            "onnx_missing", "an export writes ONNX, which needs a library: pip install 'stenoflow[export]'"
        ) from None
    card, acoustic = bundle.card, bundle.card.acoustic
    if not isinstance(acoustic, StatefulCard) or acoustic.layout != "stenoflow":
        raise BundleError(
            "export_layout", f"{bundle} is not of Stenoflow's own streaming layout, and only such are exported"
        )
    if not isinstance(card.features, FbankCard) or asked(card.features.model_copy(update={"bins": KALDI.bins})):
        raise BundleError("export_layout", f"{bundle} hears {card.features.kind} features that sherpa-onnx cannot make")
    if folder.exists():
        raise BundleError("folder_exists", f"{folder} is there already: give another --out")
    initial = load_tensors(bundle, acoustic.initial_state)
    if odd := [name for name, state in initial.items() if state.dtype != np.float32]:
        raise BundleError("export_layout", f"{bundle} has states that are no float32 ({', '.join(odd)})")
    frames = _frames_per_run(acoustic)
    model = onnx.load_from_string(bundle.read(acoustic.file))
    _wrap(model, card.features.bins, frames, initial)
    onnx.helper.set_model_props(model, _metadata(model, frames, acoustic))
    onnx.checker.check_model(model)
    folder.mkdir(parents=True)
    onnx.save(model, folder / MODEL)
    (folder / TOKENS).write_text(_tokens(bundle), encoding="utf-8")
    (folder / "README.md").write_text(_readme(bundle, frames), encoding="utf-8")
    if (bundle.folder / "LICENSES").is_dir():
        shutil.copytree(bundle.folder / "LICENSES", folder / "LICENSES")
    return frames


def _frames_per_run(acoustic: StatefulCard) -> int:
    """Whole steps, as many as still divide the look-ahead, so that what is read back has positions of the sound."""
    ahead, step = acoustic.look_ahead_ms // 10, acoustic.step_frames
    return next((size for size in range(_MOST_FRAMES // step * step, step, -step) if ahead % size == 0), step)


def band_map(bins: int) -> tuple[Floats, Floats]:
    """Our log-mel bands from sherpa-onnx's: ``theirs @ weights + offsets``, float32 (bins, bins) and (bins,).

    Levels are compared per width of a band, since the narrow ones hold one or two bins of the spectrum each, and which
    is a matter of rounding.
    """
    theirs_high = SHERPA["high_hz"]
    low, ours_top, theirs_top = (kaldi_mel(hertz) for hertz in (KALDI.low_hz, KALDI.high_hz, theirs_high))
    centres = low + (np.arange(bins) + 1) * (ours_top - low) / (bins + 1)
    place = np.clip((centres - low) * (bins + 1) / (theirs_top - low) - 1, 0, bins - 1)
    below = np.minimum(place.astype(int), bins - 2)
    weights = np.zeros((bins, bins))
    weights[below, np.arange(bins)] = 1 - (place - below)
    weights[below + 1, np.arange(bins)] = place - below
    ours_width, theirs_width = (
        np.log(kaldi_triangles(bins, KALDI.low_hz, high).sum(axis=1, dtype=np.float64))
        for high in (KALDI.high_hz, theirs_high)
    )
    scale = 2 * np.log(KALDI.full_scale / SHERPA["full_scale"])
    return weights.astype(np.float32), (ours_width - theirs_width @ weights + scale).astype(np.float32)


def _wrap(model: Any, bins: int, frames: int, initial: dict[str, np.ndarray]) -> None:
    """Puts the layout's inputs and outputs around a model's graph, in place."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    nodes = {"before": list[Any](), "after": list[Any]()}

    def constant(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"sherpa_{name}"))
        return f"sherpa_{name}"

    def node(where: str, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes[where].append(helper.make_node(kind, inputs, [output], f"sherpa_{output}", **attributes))
        return output

    weights, offsets = band_map(bins)
    moved = node("before", "MatMul", ["x", constant("weights", weights)], "sherpa_moved")
    node("before", "Add", [moved, constant("offsets", offsets)], "features")

    first_values = np.concatenate([np.ravel(state) for state in initial.values()])
    first_axis, rows = constant("axis_0", [0]), constant("axis_1", [1])
    held = node("before", "Squeeze", [_ROW, first_axis], "sherpa_held")
    nothing_yet = node("before", "Equal", ["processed_lens", constant("nothing", [0])], "sherpa_nothing_yet")
    column = node("before", "Unsqueeze", [nothing_yet, rows], "sherpa_column")
    state = node("before", "Where", [column, constant("initial", first_values[None]), held], "sherpa_state")
    parts = [f"sherpa_part_{name}" for name in initial]
    split = constant("sizes", [state.size for state in initial.values()])
    nodes["before"].append(helper.make_node("Split", [state, split], parts, "sherpa_split", axis=1))
    flat = []
    for part, (name, value) in zip(parts, initial.items(), strict=True):
        node("before", "Reshape", [part, constant(f"shape_{name}", [-1, *value.shape])], f"state_{name}")
        whole = constant(f"whole_{name}", [-1, value.size])
        flat.append(node("after", "Reshape", [f"next_{name}", whole], f"sherpa_flat_{name}"))
    joined = node("after", "Concat", flat, "sherpa_joined", axis=1)
    node("after", "Unsqueeze", [joined, first_axis], f"new_{_ROW}")
    for name in _SPARE:
        node("after", "Identity", [name], f"new_{name}")
    node("after", "Add", ["processed_lens", constant("frames", [frames])], "new_processed_lens")

    shapes: dict[str, list[int | str]] = {_ROW: [1, "N", int(first_values.size)], **_SPARE}
    symbols = next(output for output in graph.output if output.name == "log_probs")
    own = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*nodes["before"], *own, *nodes["after"]])
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", frames, bins]))
    graph.output.append(symbols)
    for name, shape in shapes.items():
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        graph.output.append(helper.make_tensor_value_info(f"new_{name}", TensorProto.FLOAT, shape))
    graph.input.append(helper.make_tensor_value_info("processed_lens", TensorProto.INT64, ["N"]))
    graph.output.append(helper.make_tensor_value_info("new_processed_lens", TensorProto.INT64, ["N"]))


def _metadata(model: Any, frames: int, acoustic: StatefulCard) -> dict[str, str]:
    row = next(value for value in model.graph.input if value.name == _ROW).type.tensor_type.shape.dim[2].dim_value
    return {
        "model_type": "zipformer2",
        "version": "1",
        "model_author": "Stenoflow",
        "encoder_dims": "4",
        "query_head_dims": str(row),
        "value_head_dims": "1",
        "num_heads": "1",
        "num_encoder_layers": "1",
        "cnn_module_kernels": "3",
        "left_context_len": "1",
        "T": str(frames),
        "decode_chunk_len": str(frames),
        LOOK_AHEAD: str(acoustic.look_ahead_ms),
        EMISSION: str(_emission_ms(acoustic)),
    }


def _emission_ms(acoustic: StatefulCard) -> int:
    return acoustic.step_frames * 10 // acoustic.emissions_per_step


def _tokens(bundle: Bundle) -> str:
    tokens = bundle.card.tokens
    names = list(tokens.symbols)
    names[tokens.blank] = _BLANK
    if tokens.separator is not None:
        names[tokens.separator] = " "
    return "".join(f"{name} {index}\n" for index, name in enumerate(names))


def _readme(bundle: Bundle, frames: int) -> str:
    card, acoustic = bundle.card, bundle.card.acoustic
    assert isinstance(acoustic, StatefulCard), "only such are exported"
    emission_ms = _emission_ms(acoustic)
    licences = "\n".join(f"- {each}" for each in card.licences)
    return (
        f"# {card.name} {card.version} for sherpa-onnx\n\n{card.description}\n\n"
        "Exported by Stenoflow in the layout of a streaming zipformer2 CTC model; it is none inside.\n\n"
        "```python\nimport sherpa_onnx\n\n"
        f'recogniser = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(tokens="{TOKENS}", model="{MODEL}")\n```\n\n'
        f"A run hears {frames * 10} ms; text comes {acoustic.wait_ms} ms after its sound, so let as much silence "
        "follow the end. Without a language model: the n-gram stays in the bundle.\n\n"
        f"sherpa-onnx counts each emission as {COUNTED_MS} ms, and here it is {emission_ms}: where it tells the time "
        f"`t` of a token, its sound lies at `{emission_ms / COUNTED_MS:g} * t - {acoustic.look_ahead_ms / 1000:g}` "
        "s.\n\n"
        f"Licences:\n\n{licences}\n"
    )
