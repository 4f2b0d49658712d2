"""What goes from the rounds to the sites and back: the weights that move, and beside them what a site must know."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.checkpoint import shape_of
from stenoflow_trainer.model import Student


def weights_of(student: Student) -> ArrayRecord:
    """What training moves, float32."""
    return ArrayRecord({name: value.detach().clone() for name, value in student.named_parameters()})


def take(student: Student, weights: ArrayRecord) -> None:
    """Puts weights into a student of the same shape.

    Raises:
        ConfigError: they are of another shape.
    """
    own, given = dict(student.named_parameters()), weights.to_torch_state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in given.items()}:
        raise ConfigError("weights_foreign", f"{len(given)} weights came that are not the {len(own)} of this student")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(given[name])


def distance(before: ArrayRecord, after: ArrayRecord) -> float:
    """How far weights moved: the Euclidean norm over all of them."""
    old, new = before.to_torch_state_dict(), after.to_torch_state_dict()
    return math.sqrt(sum(float((new[name] - old[name]).double().square().sum()) for name in old))


def clipped(before: ArrayRecord, after: ArrayRecord, longest: float) -> ArrayRecord:
    """Weights no further from what they were than is allowed.

    Flower's own ``fixedclipping_mod`` divides by the distance, which is 0 where a site found nothing better.
    """
    moved = distance(before, after)
    if moved <= longest:
        return after
    old, new = before.to_torch_state_dict(), after.to_torch_state_dict()
    return ArrayRecord({name: torch.lerp(old[name], new[name], longest / moved) for name in old})


def description_of(student: Student, **plan: Any) -> ConfigRecord:
    """A student without its weights, and how it is to be tuned."""
    return ConfigRecord(
        {
            "shape": json.dumps(asdict(student.shape)),
            "feature-mean": student.feature_mean.flatten().tolist(),
            "feature-deviation": student.feature_deviation.flatten().tolist(),
            **plan,
        }
    )


def student_of(weights: ArrayRecord, described: ConfigRecord) -> Student:
    """The student that the rounds have come to."""
    mean, deviation = (torch.tensor(described[name]) for name in ("feature-mean", "feature-deviation"))
    student = Student(shape_of(json.loads(str(described["shape"]))), mean, deviation)
    take(student, weights)
    return student
