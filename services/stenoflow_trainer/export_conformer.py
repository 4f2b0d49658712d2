"""A conformer layer in the step graph: every chunk a product of its own, so numbers do not depend on how many come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stenoflow_trainer.conformer import HEADS, NO_SUCH_STEP, ConformerLayer, Half
from stenoflow_trainer.graph import Graph
from stenoflow_trainer.kernels import TAPS, WIDTH
from stenoflow_trainer.model import FRAMES, PRIOR_FRAMES
from stenoflow_trainer.quantize import linear

PER_HEAD = WIDTH // HEADS


@dataclass(frozen=True, slots=True)
class Chunks:
    """What all layers with one left context share; names of values in the graph.

    Args:
        size: steps a chunk.
        windows: int64 [chunks, left + size]: rows of the joined keys that each chunk attends to.
        absent: [B, chunks, 1, 1, left + size]: 0, or far below it where a row lies before the segment's begin.
    """

    size: int
    windows: str
    absent: str

    @classmethod
    def of(cls, graph: Graph, left: int, size: int) -> Chunks:
        """The windows of the features that come."""
        frames = graph.node("Shape", "features", start=1, end=2)
        count = graph.node("Squeeze", graph.node("Div", frames, graph.integers(FRAMES * size)))
        numbers = graph.node("Range", _scalar(graph, 0), count, _scalar(graph, 1))
        begins = graph.node("Mul", graph.node("Unsqueeze", numbers, graph.integers(1)), graph.integers(size))
        windows = graph.node("Add", begins, graph.constant(np.arange(left + size, dtype=np.int64)))
        counted = graph.node("Sub", "state_count", graph.floats(PRIOR_FRAMES))
        seen = graph.node("Div", counted, graph.floats(float(FRAMES)))
        step = graph.node("Sub", graph.node("Cast", windows, to=1), graph.floats(float(left)))
        at = graph.node("Add", seen, step)  # [B, chunks, left + size]
        before = graph.node("Less", at, graph.floats(0.0))
        absent = graph.node("Where", before, graph.floats(NO_SUCH_STEP), graph.floats(0.0))
        return cls(size, windows, graph.node("Unsqueeze", absent, graph.integers(2, 3)))


def conformer_layer(
    graph: Graph, layer: ConformerLayer, x: str, past: str, chunks: Chunks, *, int8: bool
) -> tuple[str, str]:
    """One layer; returns (output, new past)."""
    left = layer.left
    keys, values = graph.slice(past, 0, left), graph.slice(past, left, 2 * left)
    heard = graph.slice(past, 2 * left, None)
    x = _half(graph, layer.first, x, int8=int8)
    asked = linear(graph, graph.norm(x, layer.attend_norm), layer.ask.weight, layer.ask.bias, int8=int8)
    queries, k, v = (graph.slice(asked, at, at + WIDTH, axis=2) for at in (0, WIDTH, 2 * WIDTH))
    keys, values = graph.node("Concat", keys, k, axis=1), graph.node("Concat", values, v, axis=1)
    said = _attend(graph, layer, (queries, keys, values), chunks)
    x = graph.node("Add", x, linear(graph, said, layer.answer.weight, layer.answer.bias, int8=int8))
    gated = linear(graph, graph.norm(x, layer.conv_norm), layer.gate.weight, layer.gate.bias, int8=int8)
    open_ = graph.node("Sigmoid", graph.slice(gated, WIDTH, 2 * WIDTH, axis=2))
    own = graph.node("Mul", graph.slice(gated, 0, WIDTH, axis=2), open_)
    heard = graph.node("Concat", heard, own, axis=1)
    y, reach = graph.remembered(heard, own, layer.taps, layer.stride), (TAPS - 1) * layer.stride
    mixed = _silu(graph, graph.norm(y, layer.mix_norm))
    x = graph.node("Add", x, linear(graph, mixed, layer.mix.weight, layer.mix.bias, int8=int8))
    kept = graph.node(
        "Concat",
        graph.slice(keys, -left, None),
        graph.slice(values, -left, None),
        graph.slice(heard, -reach, None),
        axis=1,
    )
    return _half(graph, layer.last, x, int8=int8), kept


def _attend(graph: Graph, layer: ConformerLayer, what: tuple[str, str, str], chunks: Chunks) -> str:
    queries, keys, values = what
    window = layer.left + chunks.size
    q = graph.node("Reshape", queries, graph.integers(0, -1, chunks.size, HEADS, PER_HEAD))
    q = graph.node("Transpose", q, perm=[0, 1, 3, 2, 4])
    of_heads = graph.integers(0, 0, window, HEADS, PER_HEAD)
    k = graph.node("Reshape", graph.node("Gather", keys, chunks.windows, axis=1), of_heads)
    v = graph.node("Reshape", graph.node("Gather", values, chunks.windows, axis=1), of_heads)
    scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 4, 2]))
    scores = graph.node("Mul", scores, graph.floats(PER_HEAD**-0.5))
    scores = graph.node("Add", scores, graph.constant(layer.bias(chunks.size)))
    shares = graph.node("Softmax", graph.node("Add", scores, chunks.absent), axis=-1)
    said = graph.node("MatMul", shares, graph.node("Transpose", v, perm=[0, 1, 3, 2, 4]))
    said = graph.node("Transpose", said, perm=[0, 1, 3, 2, 4])
    return graph.node("Reshape", said, graph.integers(0, -1, WIDTH))


def _half(graph: Graph, half: Half, x: str, *, int8: bool) -> str:
    h = _silu(graph, linear(graph, graph.norm(x, half.norm), half.up.weight, half.up.bias, int8=int8))
    added = linear(graph, h, half.down.weight, half.down.bias, int8=int8)
    return graph.node("Add", x, graph.node("Mul", added, graph.floats(0.5)))


def _silu(graph: Graph, x: str) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _scalar(graph: Graph, value: int) -> str:
    return graph.constant(np.array(value, np.int64))
