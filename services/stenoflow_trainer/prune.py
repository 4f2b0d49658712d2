"""Structured pruning: units inside the feed-forward blocks go, whole rows and columns of their matrices.

What is left is a student of a smaller `hidden` that every tool here takes. Training on gives back what it costs.

Which units: those whose output varies least over real sound, weighed by how strongly it is read (T. He et al. 2014,
"Reshaping deep neural network for fast decoding by node-pruning", weighs by the latter alone). What a unit that goes
says on average stays, in the bias of the layer that read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stenoflow.base.errors import ConfigError
from stenoflow_trainer import data
from stenoflow_trainer.kernels import layer_norm
from stenoflow_trainer.model import FRAMES, MemoryLayer, Student

MULTIPLE = 32
"""Of a width: 32 bytes, an AVX2 register of int8."""


def pruned(student: Student, hidden: int, sounds: Iterable[data.Samples]) -> Student:
    """A student with `hidden` units in each feed-forward block, the most useful ones of those that there were.

    Args:
        student: of the architecture `memory`; stays as it is.
        hidden: units a block.
        sounds: recordings at 16 kHz to watch the units on, some minutes in all.

    Raises:
        ConfigError: another architecture, or a width that is no smaller or no multiple of 32.
    """
    if student.shape.architecture != "memory":
        raise ConfigError("prune_architecture", f"only `memory` can be pruned, not `{student.shape.architecture}`")
    if not 0 < hidden < student.shape.hidden or hidden % MULTIPLE:
        raise ConfigError(
            "prune_width", f"{hidden} units: take a multiple of {MULTIPLE} below the {student.shape.hidden} there are"
        )
    smaller = Student(replace(student.shape, hidden=hidden), student.feature_mean, student.feature_deviation)
    layers = {name: layer for name, layer in student.named_modules() if isinstance(layer, MemoryLayer)}
    weights = student.state_dict()
    for (name, layer), (mean, variance) in zip(layers.items(), _watched(student, layers.values(), sounds), strict=True):
        usefulness = variance * layer.down.weight.square().sum(0)
        kept = usefulness.topk(hidden).indices.sort().values
        gone = torch.ones(len(mean), dtype=torch.bool)
        gone[kept] = False
        weights[f"{name}.up.weight"] = layer.up.weight[kept]
        weights[f"{name}.up.bias"] = layer.up.bias[kept]
        weights[f"{name}.down.weight"] = layer.down.weight[:, kept]
        weights[f"{name}.down.bias"] = layer.down.bias + layer.down.weight[:, gone] @ mean[gone]
    smaller.load_state_dict({name: value.detach() for name, value in weights.items()})
    return smaller.eval()


def _watched(
    student: Student, layers: Collection[MemoryLayer], sounds: Iterable[data.Samples]
) -> list[tuple[Tensor, Tensor]]:
    """(mean, variance) of every unit's output, for each layer."""
    sums = {layer: torch.zeros(2, student.shape.hidden, dtype=torch.float64) for layer in layers}
    steps = 0

    def watch(layer: MemoryLayer, given: tuple[Tensor, int]) -> None:
        said = F.relu(layer.up(layer_norm(given[0], layer.norm))).double().flatten(0, 1)
        sums[layer] += torch.stack([said.sum(0), said.square().sum(0)])

    hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
    draw = np.random.default_rng(1)
    with torch.no_grad():
        for samples in sounds:
            features = torch.from_numpy(data.fbank(data.pad_like_serving(samples, draw)))
            whole = len(features) // FRAMES
            student(features[None, : whole * FRAMES])
            steps += whole
    for hook in hooks:
        hook.remove()
    moments = [total / steps for total in sums.values()]
    return [(mean.float(), (square - mean.square()).clamp_min(0.0).float()) for mean, square in moments]
