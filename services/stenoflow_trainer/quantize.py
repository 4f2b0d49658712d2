"""Integer matrix products whose result for a row depends on that row alone.

ONNX Runtime's own dynamic quantization takes one activation scale for the whole tensor, so the tracks of a batch move
each other's numbers (PLATFORM 4).  Here every row (one step of one track) has its scale; the product itself is
exact in integers.  Weights have one scale a column and 7 bits: on processors without VNNI the product of two
neighbours is added in 16 bits, and 2 x 255 x 63 still fits there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from stenoflow_trainer.graph import Graph

WEIGHT_LEVELS = 63
SMALLEST_SCALE = 1e-8  # a row of zeros must not divide by zero


def quantized(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Splits [out, in] into int8 of that shape, within +-63, and a float32 scale an output, [out]."""
    scale = np.maximum(np.abs(weight).max(axis=1), SMALLEST_SCALE) / WEIGHT_LEVELS
    return np.rint(weight / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def integer_linear(
    graph: Graph, x: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], *, positive: bool
) -> str:
    """x W^T + b with x as uint8 of one scale a row.

    positive: x is never negative; all 256 levels serve it then, otherwise 0 lies at 128.
    """
    integers, scale = quantized(weight)
    size = x if positive else graph.node("Abs", x)
    largest = graph.node("ReduceMax", size, axes=[-1], keepdims=1)
    levels = 255.0 if positive else 127.0
    row_scale = graph.node("Max", graph.node("Mul", largest, graph.floats(1.0 / levels)), graph.floats(SMALLEST_SCALE))
    # QuantizeLinear has no scale a row, so it is spelled out; Round is to even, as there.
    steps = graph.node("Round", graph.node("Div", x, row_scale))
    if not positive:
        steps = graph.node("Add", steps, graph.floats(128.0))
    # 255.5 may come of rounding in the division; Clip keeps the cast defined.
    bytes_ = graph.node("Cast", graph.node("Clip", steps, graph.floats(0.0), graph.floats(255.0)), to=2)
    zero = graph.constant(np.array(0 if positive else 128, np.uint8))
    product = graph.node("MatMulInteger", bytes_, graph.constant(integers.T), zero)
    exact = graph.node("Cast", product, to=1)
    scaled = graph.node("Mul", graph.node("Mul", exact, row_scale), graph.constant(scale))
    return graph.node("Add", scaled, graph.constant(bias))


def linear(
    graph: Graph, x: str, weight: torch.Tensor, bias: torch.Tensor, *, int8: bool, positive: bool = False
) -> str:
    """x W^T + b, in integers or floats.  positive: x is never negative (after ReLU)."""
    if int8:
        return integer_linear(graph, x, weight.detach().numpy(), bias.detach().numpy(), positive=positive)
    return graph.node("Add", graph.node("MatMul", x, graph.constant(weight.T)), graph.constant(bias))
