"""An ONNX graph under construction, node by node."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper

from stenoflow_trainer.kernels import TAPS

LAST = np.iinfo(np.int64).max  # "to the end" for Slice


class Graph:
    """Nodes and constants under construction; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, value: npt.NDArray[np.generic] | torch.Tensor, name: str | None = None) -> str:
        """Stores a constant, equal ones once."""
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        key = (
            name
            or f"constant_{array.dtype}_{'x'.join(map(str, array.shape))}_{sha256(array.tobytes()).hexdigest()[:16]}"
        )
        self.constants.setdefault(key, numpy_helper.from_array(np.ascontiguousarray(array), key))
        return key

    def floats(self, *values: float) -> str:
        """A float32 constant, a scalar when it is one."""
        return self.constant(np.array(values if len(values) > 1 else values[0], np.float32))

    def integers(self, *values: int) -> str:
        """An int64 vector."""
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Appends a node with one output."""
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def slice(self, x: str, begin: int, end: int | None, axis: int = 1, output: str | None = None) -> str:
        """x[begin:end] along an axis; None: to the end."""
        stop = self.integers(LAST if end is None else end)
        return self.node("Slice", x, self.integers(begin), stop, self.integers(axis), output=output)

    def norm(self, x: str, layer: torch.nn.LayerNorm) -> str:
        """LayerNorm over the last axis."""
        scale, shift = self.constant(layer.weight), self.constant(layer.bias)
        return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=layer.eps)

    def remembered(self, joined: str, own: str, taps: torch.Tensor, stride: int) -> str:
        """The sum of eight taps over the past; `joined` is the past and then `own`, [B, ., 384]."""
        y, rows = self.node("Mul", own, self.constant(taps[0])), (TAPS - 1) * stride
        for i in range(1, TAPS):
            shifted = self.slice(joined, rows - i * stride, -i * stride)
            y = self.node("Add", y, self.node("Mul", shifted, self.constant(taps[i])))
        return y
