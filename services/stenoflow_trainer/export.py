"""Writes the served form as an ONNX step graph with explicit state, in float32 or int8.

The graph is built node by node instead of traced: every operation in it works row by row, which is what makes a
track's numbers independent of its companions in the batch and of how its sound was cut into chunks (DESIGN 2).
Inputs `features` [B, 4 C T, 80] and `state_<name>`; outputs `log_probs` [B, 2 C T, 29] and `next_<name>`, C being the
steps of a chunk.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from stenoflow_trainer.export_conformer import Chunks, conformer_layer
from stenoflow_trainer.graph import Graph
from stenoflow_trainer.model import (
    BINS,
    EMISSIONS,
    FRAMES,
    SPLICE,
    SYMBOLS,
    VARIANCE_FLOOR,
    MemoryLayer,
    Merged,
)
from stenoflow_trainer.quantize import linear

OPSET = 17  # the first with LayerNormalization
STATES = ("count", "sum", "square", "frames", "memory")


def _normaliser(graph: Graph, merged: Merged) -> str:
    """Running normalisation; returns the normalised frames [B, 4 T, 80] and writes three states.

    CumSum adds one frame after the other, the state first, so every chunking makes the same sums in the same order.
    """
    x = graph.node("Sub", "features", graph.constant(merged.mean))
    frames = graph.node("Shape", x, start=0, end=2)
    ones_shape = graph.node("Concat", frames, graph.integers(1), axis=0)
    one = numpy_helper.from_array(np.ones(1, np.float32))
    ones = graph.node("ConstantOfShape", ones_shape, value=one)
    running = {}
    for name, value in (("count", ones), ("sum", x), ("square", graph.node("Mul", x, x))):
        joined = graph.node("Concat", f"state_{name}", value, axis=1)
        sums = graph.node("CumSum", joined, graph.constant(np.array(1, np.int64)))
        graph.slice(sums, -1, None, output=f"next_{name}")
        running[name] = graph.slice(sums, 1, None)
    mean = graph.node("Div", running["sum"], running["count"])
    square = graph.node("Div", running["square"], running["count"])
    variance = graph.node("Sub", square, graph.node("Mul", mean, mean))
    deviation = graph.node("Sqrt", graph.node("Max", variance, graph.floats(VARIANCE_FLOOR)))
    return graph.node("Div", graph.node("Sub", x, mean), deviation)


def _splice(graph: Graph, normalised: str) -> str:
    """Own four frames and the 44 before as one row a step, [B, T, 3840]; writes the state `frames`."""
    joined = graph.node("Concat", "state_frames", normalised, axis=1)
    graph.slice(joined, -(SPLICE - FRAMES), None, output="next_frames")
    groups = graph.node("Reshape", joined, graph.integers(0, -1, FRAMES * BINS))
    count = SPLICE // FRAMES
    shifted = [graph.slice(groups, i, i - count + 1 or None) for i in range(count)]
    return graph.node("Concat", *shifted, axis=-1)


def _memory_layer(graph: Graph, layer: MemoryLayer, x: str, past: str, *, int8: bool) -> tuple[str, str]:
    """One FSMN layer; returns (output, new past)."""
    h = linear(graph, graph.norm(x, layer.norm), layer.up.weight, layer.up.bias, int8=int8)
    own = linear(graph, graph.node("Relu", h), layer.down.weight, layer.down.bias, int8=int8, positive=True)
    joined = graph.node("Concat", past, own, axis=1)
    taps = layer.taps.detach().clone()
    taps[0] += 1.0
    y = graph.node("Add", x, graph.remembered(joined, own, taps, layer.stride))
    return y, graph.slice(joined, -layer.rows, None)


def build_graph(merged: Merged, *, int8: bool) -> onnx.ModelProto:
    """The step graph as a checked ONNX model."""
    graph = Graph()
    h = _splice(graph, _normaliser(graph, merged))
    pasts, row = [], 0
    chunks: dict[int, Chunks] = {}
    for block in merged.blocks:
        h = graph.norm(linear(graph, h, block.weight, block.bias, int8=int8), block.norm)
        for layer in block.layers:
            past = graph.slice("state_memory", row, row + layer.rows)
            if isinstance(layer, MemoryLayer):
                h, past = _memory_layer(graph, layer, h, past, int8=int8)
            else:
                if layer.left not in chunks:
                    chunks[layer.left] = Chunks.of(graph, layer.left, merged.chunk)
                h, past = conformer_layer(graph, layer, h, past, chunks[layer.left], int8=int8)
            pasts.append(past)
            row += layer.rows
        h = graph.norm(h, block.leave_norm)
    graph.node("Concat", *pasts, axis=1, output="next_memory")
    emissions = linear(graph, h, merged.head_weight, merged.head_bias, int8=int8)
    emissions = graph.node("Reshape", emissions, graph.integers(0, -1, SYMBOLS))
    graph.node("LogSoftmax", emissions, axis=-1, output="log_probs")

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    shapes: dict[str, tuple[int, int]] = {
        name: (state.shape[1], state.shape[2]) for name, state in merged.initial_state().items()
    }
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "stenoflow-step",
            [
                value("features", "B", f"{FRAMES * merged.chunk}T", BINS),
                *(value(f"state_{n}", "B", *shapes[n]) for n in STATES),
            ],
            [
                value("log_probs", "B", f"{EMISSIONS * merged.chunk}T", SYMBOLS),
                *(value(f"next_{n}", "B", *shapes[n]) for n in STATES),
            ],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="stenoflow_trainer",
    )
    onnx.checker.check_model(model)
    return model


def write_acoustic(merged: Merged, folder: Path, *, int8: bool = True) -> None:
    """Writes ``model.onnx`` and ``initial_state.safetensors`` (each state without its batch axis) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(build_graph(merged, int8=int8), folder / "model.onnx")
    state = {name: np.ascontiguousarray(value[0].numpy()) for name, value in merged.initial_state().items()}
    save_file(state, folder / "initial_state.safetensors")
