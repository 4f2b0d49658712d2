"""A step graph in ONNX as a function on torch tensors.

Node by node, so that whatever our exporter writes (memory or conformer) runs without its layers being spelled out a
second time. An int8 product becomes what it stands for: its weights times their scales, in the precision asked for;
what makes bytes of the activations falls away. Products run in that precision, all else in float32.

Shapes and numbers made of shapes stay on the host, whatever the device, and nothing is ever asked back of the device:
so a run can be recorded as a CUDA graph.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from stenoflow.base.errors import BundleError, ConfigError

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    Args:
        kind: of ONNX, or ``Product``.
        inputs: names of values, empty for one that is left out.
        output: name of the value.
        attributes: as ONNX has them.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GraphPort:
    """An input or output of the graph; see :class:`stenoflow_acoustic.layouts.Port`."""

    name: str
    type: str
    shape: tuple[int | str, ...]


class StepGraph:
    """The function.

    Args:
        content: of the ONNX file.
        path: for messages.
        device: where it will run.
        precision: of products.

    Raises:
        BundleError: it is no model.
        ConfigError: it has operations that are not known here.
    """

    def __init__(self, content: bytes, path: str, device: torch.device, precision: torch.dtype) -> None:
        try:
            graph = onnx.load_model_from_string(content).graph
            constants = {each.name: torch.tensor(numpy_helper.to_array(each)) for each in graph.initializer}
        except (DecodeError, ValueError, TypeError, OSError) as error:
            raise BundleError("bundle_model", f"{path} is no model in ONNX: {error}") from None
        self._device = torch.empty(0, device=device).device  # with its number, as tensors tell it
        self._precision = precision
        self.inputs, self.outputs = [_port(each) for each in graph.input], [_port(each) for each in graph.output]
        nodes = _needed(_with_products(_nodes(graph), constants), [each.name for each in self.outputs])
        unknown = sorted({node.kind for node in nodes} - set(OPERATIONS))
        if unknown:
            raise ConfigError(
                "engine_unsuited",
                f"{path} has operations that the torch engine does not know ({', '.join(unknown)}): set "
                "STENOFLOW_ACOUSTIC_ENGINE=onnx",
            )
        self._nodes = nodes
        weights = {node.inputs[1] for node in nodes if node.kind == "Product"}
        read = {name for node in nodes for name in node.inputs}
        self._constants = {
            name: self._placed(value, name in weights) for name, value in constants.items() if name in read
        }
        self._last_use = _last_uses(nodes, {*self._constants, *(each.name for each in self.outputs)})
        self._moved: dict[tuple[str, torch.Size], Tensor] = {}

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of float32 inputs, by name. Changes none of them."""
        values: dict[str, Tensor] = {**self._constants, **inputs}
        shape = inputs["features"].shape
        for node, done in zip(self._nodes, self._last_use, strict=True):
            function, sounds = OPERATIONS[node.kind]
            names = [name for name in node.inputs if name]
            given = [values[name] for name in names]
            mixed = given[:sounds]
            if any(each.device == self._device for each in mixed):
                given[:sounds] = [self._here(*each, shape) for each in zip(names[:sounds], mixed, strict=True)]
            values[node.output] = function(given, node.attributes)
            for name in done:
                del values[name]
        return {port.name: values[port.name] for port in self.outputs}

    def _placed(self, value: Tensor, weight: bool) -> Tensor:
        if not value.is_floating_point():
            return value
        return value.to(self._device, self._precision if weight else torch.float32)

    def _here(self, name: str, value: Tensor, shape: torch.Size) -> Tensor:
        """A value of the host on the device. It follows from the features' shape, so for each it is moved once."""
        if value.device == self._device:
            return value
        key = (name, shape)
        if key not in self._moved:
            self._moved[key] = value.to(self._device)
        return self._moved[key]


def _port(info: Any) -> GraphPort:
    kind = info.type.tensor_type
    name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    return GraphPort(info.name, f"tensor({name})", tuple(each.dim_param or each.dim_value for each in kind.shape.dim))


def _nodes(graph: Any) -> list[Node]:
    return [
        Node(
            each.op_type,
            tuple(each.input),
            each.output[0],
            {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in each.attribute},
        )
        for each in graph.node
    ]


def _with_products(nodes: Sequence[Node], constants: dict[str, Tensor]) -> list[Node]:
    """The nodes, each product with constant weights a ``Product``; weights of int8 products join the constants."""
    makers = {node.output: node for node in nodes}
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            readers[name].append(node)
    replaced: dict[str, Node] = {}
    for node in nodes:
        if node.kind == "MatMul" and node.inputs[1] in constants and constants[node.inputs[1]].ndim == 2:
            replaced[node.output] = Node("Product", node.inputs, node.output)
        elif node.kind == "MatMulInteger":
            found = _scaled_product(node, makers, readers, constants)
            if found is not None:
                replaced[found.output] = found
    return [replaced.get(node.output, node) for node in nodes]


def _scaled_product(
    node: Node, makers: Mapping[str, Node], readers: Mapping[str, list[Node]], constants: dict[str, Tensor]
) -> Node | None:
    """An int8 product as the trainer's ``quantize.py`` writes it, from the division by the row's scale to both scales.

    None where it is written in another way, so that it is refused as unknown.
    """
    bytes_, weight, zero = node.inputs
    shift, name = torch.tensor(0.0), bytes_
    for kind in ("Cast", "Clip", "Add", "Round"):
        maker = makers.get(name)
        if maker is None or maker.kind != kind:
            if kind == "Add":
                continue  # bytes of what is never negative are not shifted
            return None
        if kind == "Add":
            shift = constants[maker.inputs[1]]
        name = maker.inputs[0]
    divided = makers.get(name)
    after = node
    for kind in ("Cast", "Mul", "Mul"):
        following = readers[after.output]
        if len(following) != 1 or following[0].kind != kind:
            return None
        by_row, after = after, following[0]
    if divided is None or divided.kind != "Div" or divided.inputs[1] != by_row.inputs[1]:
        return None
    if float(shift) != float(constants[zero]):
        return None
    constants[f"{weight}.{node.output}"] = constants[weight].float() * constants[after.inputs[1]]
    return Node("Product", (divided.inputs[0], f"{weight}.{node.output}"), after.output)


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """What the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node.output in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _last_uses(nodes: Sequence[Node], lasting: set[str]) -> list[list[str]]:
    """For each node the values that nobody reads after it, so that their memory serves others."""
    left = Counter(name for node in nodes for name in {*node.inputs, node.output} - lasting - {""})
    done: list[list[str]] = []
    for node in nodes:
        names = {*node.inputs, node.output} - lasting - {""}
        left.subtract(names)
        done.append([name for name in names if not left[name]])
    return done


# ---- operations: the values given, and the node's attributes


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
