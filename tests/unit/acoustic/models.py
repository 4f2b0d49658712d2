"""Tiny ONNX bundles, made here: small whole numbers, so that float32 is exact and equal means equal.

``mixing``: every step depends on all before it in the segment. ``delaying``: what comes out is what went in,
``look_ahead_ms`` later, so positions can be read off the emissions.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

BINS = 6
SYMBOLS = 5
STEP_FRAMES = 4
PER_STEP = 2
QUIET = -3.0


def card(folder: Path, look_ahead_ms: int = 400, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "format": 1,
        "name": "tiny",
        "version": "0",
        "language": "en",
        "description": "whole numbers",
        "licences": ["Apache-2.0"],
        "features": {
            "kind": "fbank",
            "sample_rate": 16000,
            "bins": BINS,
            "frame_ms": 25,
            "hop_ms": 10,
            "flush_frame": [QUIET] * BINS,
        },
        "acoustic": {
            "kind": "stateful",
            "file": "model.onnx",
            "precision": "float32",
            "initial_state": "initial_state.safetensors",
            "step_frames": STEP_FRAMES,
            "emissions_per_step": PER_STEP,
            "look_ahead_ms": look_ahead_ms,
        },
        "tokens": {"symbols": ["|", "a", "b", "c", ""], "blank": 4, "separator": 0},
        "decoder": {
            "language_model": "lm.binary",
            "lexicon": "lexicon.txt",
            "lm_weight": 0.5,
            "word_score": 0.0,
            "beam_width": 8,
            "unknown_score": -10.0,
        },
        "measured": [],
    }
    fields.update(changes)
    names = ["model.onnx", "initial_state.safetensors", "lm.binary", "lexicon.txt"]
    fields.setdefault("files", {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names})
    return fields


def write_card(folder: Path, fields: dict[str, Any]) -> Path:
    (folder / "bundle.json").write_text(json.dumps(fields))
    return folder


def make_bundle(folder: Path, kind: str = "mixing", look_ahead_ms: int = 400) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lag = look_ahead_ms // 40 * PER_STEP
    onnx.save(mixing() if kind == "mixing" else delaying(lag), folder / "model.onnx")
    initial = {"sum": np.array([3.0, 1, 4, 1, 5], np.float32), "count": np.array([2], np.int64)}
    if kind == "delaying":
        initial = {"line": np.full((lag, SYMBOLS), -7.0, np.float32)}
    save_file(initial, folder / "initial_state.safetensors")
    (folder / "lm.binary").write_bytes(b"none")
    (folder / "lexicon.txt").write_text("a a |\n")
    return write_card(folder, card(folder, look_ahead_ms))


def mixing() -> onnx.ModelProto:
    """Cumulative sums of whole numbers over the segment, modulo 64, plus a counter of frames."""
    weights = np.arange(2 * BINS * SYMBOLS).reshape(2 * BINS, SYMBOLS).astype(np.float32) % 5 - 2
    nodes = [
        helper.make_node("Round", ["features"], ["whole"]),
        helper.make_node("Reshape", ["whole", "joined"], ["pairs"]),
        helper.make_node("MatMul", ["pairs", "weights"], ["mixed"]),
        helper.make_node("CumSum", ["mixed", "axis"], ["summed"]),
        helper.make_node("Unsqueeze", ["state_sum", "axis1"], ["before"]),
        helper.make_node("Add", ["summed", "before"], ["total"]),
        # Mod of integers takes the divisor's sign, so folding early or late gives the same; fmod would not.
        helper.make_node("Cast", ["total"], ["total_int"], to=TensorProto.INT32),
        helper.make_node("Mod", ["total_int", "modulus"], ["folded_int"]),
        helper.make_node("Cast", ["folded_int"], ["folded"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["state_count"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["count", "axis1"], ["count3"]),
        helper.make_node("Sub", ["folded", "count3"], ["log_probs"]),
        helper.make_node("Slice", ["folded", "minus1", "huge", "axis1"], ["last"]),
        helper.make_node("Squeeze", ["last", "axis1"], ["next_sum"]),
        helper.make_node("Identity", ["state_count"], ["next_count"]),
    ]
    constants = {
        "joined": np.array([0, -1, 2 * BINS], np.int64),
        "weights": weights,
        "axis": np.array(1, np.int64),
        "axis1": np.array([1], np.int64),
        "modulus": np.array(64, np.int32),
        "minus1": np.array([-1], np.int64),
        "huge": np.array([1 << 40], np.int64),
    }
    states = [("sum", TensorProto.FLOAT, [SYMBOLS]), ("count", TensorProto.INT64, [1])]
    return _model(nodes, constants, states)


def delaying(lag: int) -> onnx.ModelProto:
    """The first V bins of every second frame, ``lag`` emissions later."""
    nodes = [
        helper.make_node("Slice", ["features", "zeros", "ends", "axes", "strides"], ["picked"]),
        helper.make_node("Concat", ["state_line", "picked"], ["line"], axis=1),
        helper.make_node("Shape", ["picked"], ["shape"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["rows"]),
        helper.make_node("Slice", ["line", "zero", "rows", "one"], ["log_probs"]),
        helper.make_node("Slice", ["line", "rows", "huge", "one"], ["next_line"]),
    ]
    constants = {
        "zeros": np.array([0, 0], np.int64),
        "ends": np.array([1 << 40, SYMBOLS], np.int64),
        "axes": np.array([1, 2], np.int64),
        "strides": np.array([2, 1], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "huge": np.array([1 << 40], np.int64),
    }
    return _model(nodes, constants, [("line", TensorProto.FLOAT, [lag, SYMBOLS])])


def _model(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], states: list[tuple[str, int, list[int]]]
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "N", BINS])]
    outputs = [helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["B", "U", SYMBOLS])]
    for name, kind, shape in states:
        inputs.append(helper.make_tensor_value_info(f"state_{name}", kind, ["B", *shape]))
        outputs.append(helper.make_tensor_value_info(f"next_{name}", kind, ["B", *shape]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
