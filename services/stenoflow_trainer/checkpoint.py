"""Weights outside a run: read from its checkpoint, kept small enough to live in the repository.

Matrices are stored as int8 with one float32 scale a row (the 13 million weights would be 27 MB in bfloat16), the rest
as it is.  Segments stay unmerged, so training can go on from the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.model import Shape, Student
from stenoflow_trainer.teacher import Projection

LARGE = 100_000  # numbers from which on a matrix is stored as int8


def shape_of(layout: dict[str, Any]) -> Shape:
    """The shape that an experiment's `[student]` or a file's metadata describe."""
    strides = tuple(tuple(layers) for layers in layout["strides"])
    given = {field.name: layout[field.name] for field in fields(Shape) if field.name in layout}
    return Shape(**{**given, "strides": strides, "delays": tuple(layout["delays"])})


def new_student(settings: dict[str, Any], projection: Projection) -> Student:
    """A student of the experiment's shape with random weights."""
    mean, deviation = projection.feature_mean, projection.feature_deviation
    return Student(shape_of(settings["student"]), torch.from_numpy(mean), torch.from_numpy(deviation))


def student_of(settings: dict[str, Any], weights: dict[str, Tensor]) -> Student:
    """A student of the experiment's shape with these weights."""
    student = Student(shape_of(settings["student"]), weights["feature_mean"], weights["feature_deviation"])
    student.load_state_dict(weights)
    return student.eval()


def load_student(path: Path, settings: dict[str, Any]) -> Student:
    """The averaged weights of a run's ``checkpoint.pt``, or a file of `save_weights`."""
    if path.suffix == ".safetensors":
        return student_of(settings, load_weights(path))
    return student_of(settings, torch.load(path, weights_only=True)["average"])


def averaged(students: Sequence[Student]) -> Student:
    """The mean of the weights of runs that began with the same ones (Wortsman et al. 2022, "Model soups").

    Each run wanders off another way from what it shares with the others, and what they share is what was to be learnt.
    Of runs that began with different random numbers the mean is worth nothing.

    Args:
        students: of one shape, at least one; the first is changed.
    """
    first, *others = students
    weights = [student.state_dict() for student in (first, *others)]
    first.load_state_dict({name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]})
    return first


def stored_student(path: Path) -> Student:
    """A student of a file of `save_weights`, whose shape is in it.

    Raises:
        ConfigError: it is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shape = json.loads((file.metadata() or {})["shape"])
    except (OSError, KeyError, ValueError, SafetensorError):
        raise ConfigError("weights_unreadable", f"{path} holds no weights of this trainer") from None
    weights = load_weights(path)
    student = Student(shape_of(shape), weights["feature_mean"], weights["feature_deviation"])
    student.load_state_dict(weights)
    return student


def save_weights(student: Student, path: Path) -> None:
    """Writes the safetensors file; its metadata carry the shape."""
    tensors: dict[str, Tensor] = {}
    for name, value in student.state_dict().items():
        if value.ndim == 2 and value.numel() >= LARGE:
            scale = value.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / 127.0
            tensors[f"{name}.int8"] = (value / scale).round().to(torch.int8)
            tensors[f"{name}.scale"] = scale
        else:
            tensors[name] = value.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"shape": json.dumps(asdict(student.shape))})


def load_weights(path: Path) -> dict[str, Tensor]:
    """A state dict again, float32."""
    weights = {}
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        for name in names:
            if name.endswith(".int8"):
                stem = name.removesuffix(".int8")
                weights[stem] = file.get_tensor(name).float() * file.get_tensor(f"{stem}.scale")
            elif not name.endswith(".scale"):
                weights[name] = file.get_tensor(name)
    return weights
