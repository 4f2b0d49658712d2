"""Weights outside a run: several of them made one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.unit.trainer.small import CONFORMER, MEMORY, student

from stenoflow_trainer.checkpoint import averaged, save_weights, stored_student
from stenoflow_trainer.model import Shape


@pytest.mark.parametrize("shape", [MEMORY, CONFORMER])
def test_the_mean_of_runs_is_that_of_each_weight(shape: Shape, tmp_path: Path) -> None:
    runs = [student(shape) for _ in range(3)]
    with torch.no_grad():
        for number, run in enumerate(runs):
            for parameter in run.parameters():
                parameter.add_(0.3 * number)
    middle = {name: value.clone() for name, value in runs[1].state_dict().items()}
    mean = averaged(runs).state_dict()
    assert mean.keys() == middle.keys()
    for name, value in middle.items():
        torch.testing.assert_close(mean[name], value)
    save_weights(averaged([runs[1]]), tmp_path / "one.safetensors")
    for name, value in stored_student(tmp_path / "one.safetensors").state_dict().items():
        torch.testing.assert_close(value, middle[name], atol=0.02, rtol=0.02)  # int8 rows
