"""A step graph in ONNX as a function on torch tensors.

Node by node, so that whatever our exporter writes (memory or conformer) runs without its layers being spelled out a
second time. An int8 product becomes what it stands for: its weights times their scales, in the precision asked for;
what makes bytes of the activations falls away. Products run in that precision, all else in float32.

Shapes and numbers made of shapes stay on the host, whatever the device, and nothing is ever asked back of the device:
so a run can be recorded as a CUDA graph.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow_acoustic.torch_operations import OPERATIONS, Attributes


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
