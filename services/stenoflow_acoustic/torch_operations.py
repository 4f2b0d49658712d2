"""What torch does for each operation of a step graph: from the values given and the node's attributes to one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

Attributes = Mapping[str, Any]


def _product(given: Sequence[Tensor], _: Attributes) -> Tensor:
    x, weight = given
    return (x.to(weight.dtype) @ weight).float()


def _divide(given: Sequence[Tensor], _: Attributes) -> Tensor:
    a, b = given
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _slice(given: Sequence[Tensor], _: Attributes) -> Tensor:
    x, begins, ends, axes = given
    cut = [slice(None)] * x.ndim
    for begin, end, axis in zip(begins.tolist(), ends.tolist(), axes.tolist(), strict=True):
        cut[axis] = slice(begin, end)
    return x[tuple(cut)]


def _reshape(given: Sequence[Tensor], _: Attributes) -> Tensor:
    x, shape = given
    return x.reshape([size or x.shape[at] for at, size in enumerate(shape.tolist())])


def _shape(given: Sequence[Tensor], attributes: Attributes) -> Tensor:
    return torch.tensor(list(given[0].shape)[attributes.get("start", 0) : attributes.get("end")])


def _filled(given: Sequence[Tensor], attributes: Attributes) -> Tensor:
    value = torch.tensor(numpy_helper.to_array(attributes["value"]))
    return value.expand(given[0].tolist())


def _norm(given: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, scale, shift = given
    return F.layer_norm(x, scale.shape, scale, shift, attributes["epsilon"])


def _gather(given: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, rows = given
    axis = attributes.get("axis", 0)
    return x.index_select(axis, rows.flatten()).reshape(*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :])


def _squeeze(given: Sequence[Tensor], _: Attributes) -> Tensor:
    return given[0].squeeze() if len(given) == 1 else given[0].squeeze(tuple(given[1].tolist()))


def _unsqueeze(given: Sequence[Tensor], _: Attributes) -> Tensor:
    x, axes = given
    for axis in axes.tolist():
        x = x.unsqueeze(axis)
    return x


CASTS = {1: torch.float32, 7: torch.int64}
"""Of ONNX's types those that a step graph casts to."""

OPERATIONS: dict[str, tuple[Callable[[Sequence[Tensor], Attributes], Tensor], int | None]] = {
    "Add": (lambda given, _: given[0] + given[1], None),
    "Sub": (lambda given, _: given[0] - given[1], None),
    "Mul": (lambda given, _: given[0] * given[1], None),
    "Div": (_divide, None),
    "Max": (lambda given, _: torch.maximum(*given), None),
    "Less": (lambda given, _: given[0] < given[1], None),
    "Where": (lambda given, _: torch.where(given[0], given[1], given[2]), None),
    "Sqrt": (lambda given, _: given[0].sqrt(), None),
    "Relu": (lambda given, _: given[0].relu(), None),
    "Sigmoid": (lambda given, _: given[0].sigmoid(), None),
    "Softmax": (lambda given, attributes: given[0].softmax(attributes["axis"]), None),
    "LogSoftmax": (lambda given, attributes: given[0].log_softmax(attributes["axis"]), None),
    "LayerNormalization": (_norm, None),
    "Product": (_product, None),
    "MatMul": (lambda given, _: given[0] @ given[1], None),
    "CumSum": (lambda given, _: given[0].cumsum(int(given[1])), 1),
    "Concat": (lambda given, attributes: torch.cat(list(given), attributes["axis"]), None),
    "Slice": (_slice, 1),
    "Gather": (_gather, None),
    "Reshape": (_reshape, 1),
    "Transpose": (lambda given, attributes: given[0].permute(*attributes["perm"]), None),
    "Squeeze": (_squeeze, 1),
    "Unsqueeze": (_unsqueeze, 1),
    "Cast": (lambda given, attributes: given[0].to(CASTS[attributes["to"]]), None),
    "Shape": (_shape, 0),
    "ConstantOfShape": (_filled, 0),
    "Range": (lambda given, _: torch.arange(*(int(each) for each in given)), 0),
}
"""What is known, and how many of the values given are sound (None: all); the others are numbers of the host."""
