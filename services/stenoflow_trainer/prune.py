"""Structured pruning: units inside the feed-forward blocks go, whole rows and columns of their matrices.

What is left is a student of a smaller `hidden` that every tool here takes. Training on gives back what it costs.

Which units: those whose output varies least over real sound, weighed by how strongly it is read (T. He et al. 2014,
"Reshaping deep neural network for fast decoding by node-pruning", weighs by the latter alone). What a unit that goes
says on average stays, in the bias of the layer that read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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
"""Of a width: what integer products take at once."""


def pruned(student: Student, hidden: int, sounds: Iterable[data.Samples]) -> Student:
    """A student with `hidden` units in each feed-forward block, the most useful ones of those that there were.

    Args:
        student: of the architecture `memory`; stays as it is.
        hidden: units a block.
        sounds: recordings at 16 kHz to watch the units on, some minutes in all.

    Raises:
        ConfigError: another architecture, or a width that is no smaller or no multiple of 32.
    """
    layers = [layer for segment in student.ordered for layer in segment.layers if isinstance(layer, MemoryLayer)]
    if student.shape.architecture != "memory":
        raise ConfigError("prune_architecture", f"only `memory` can be pruned, not `{student.shape.architecture}`")
    if not 0 < hidden < student.shape.hidden or hidden % MULTIPLE:
        raise ConfigError(
            "prune_width", f"{hidden} units: take a multiple of {MULTIPLE} below the {student.shape.hidden} there are"
        )
    seen = _watched(student, layers, sounds)
    smaller = Student(replace(student.shape, hidden=hidden), student.feature_mean, student.feature_deviation)
    weights = student.state_dict()
    names = {layer: name for name, layer in student.named_modules() if isinstance(layer, MemoryLayer)}
    for layer, (mean, variance) in zip(layers, seen, strict=True):
        usefulness = variance * layer.down.weight.square().sum(0)
        kept = usefulness.topk(hidden).indices.sort().values
        gone = torch.ones(len(mean), dtype=torch.bool)
        gone[kept] = False
        name = names[layer]
        weights[f"{name}.up.weight"] = layer.up.weight[kept]
        weights[f"{name}.up.bias"] = layer.up.bias[kept]
        weights[f"{name}.down.weight"] = layer.down.weight[:, kept]
        weights[f"{name}.down.bias"] = layer.down.bias + layer.down.weight[:, gone] @ mean[gone]
    smaller.load_state_dict({name: value.detach() for name, value in weights.items()})
    return smaller.eval()


def _watched(
    student: Student, layers: list[MemoryLayer], sounds: Iterable[data.Samples]
) -> list[tuple[Tensor, Tensor]]:
    """(mean, variance) of every unit's output, for each layer."""
    sums = [torch.zeros(2, student.shape.hidden, dtype=torch.float64) for _ in layers]
    steps = 0

    def watch(at: int) -> object:
        def before(layer: MemoryLayer, given: tuple[Tensor, int]) -> None:
            said = F.relu(layer.up(layer_norm(given[0], layer.norm))).double().flatten(0, 1)
            sums[at] += torch.stack([said.sum(0), said.square().sum(0)])

        return before

    hooks = [layer.register_forward_pre_hook(watch(at)) for at, layer in enumerate(layers)]  # type: ignore[arg-type]
    draw = np.random.default_rng(1)
    with torch.no_grad():
        for samples in sounds:
            features = torch.from_numpy(data.fbank(data.pad_like_serving(samples, draw)))
            whole = math.floor(len(features) / FRAMES)
            student(features[None, : whole * FRAMES])
            steps += whole
    for hook in hooks:
        hook.remove()
    means = [total[0] / steps for total in sums]
    return [
        (mean.float(), (total[1] / steps - mean.square()).clamp_min(0.0).float())
        for mean, total in zip(means, sums, strict=True)
    ]
