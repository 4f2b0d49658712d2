"""Structured pruning: what says nothing goes first, and what is left is a student like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.trainer import small
from torch.nn import functional as F
from typer.testing import CliRunner

from stenoflow.base.errors import ConfigError
from stenoflow_trainer import data
from stenoflow_trainer.__main__ import app
from stenoflow_trainer.checkpoint import save_weights, stored_student
from stenoflow_trainer.model import FRAMES, MemoryLayer, Student
from stenoflow_trainer.prune import pruned

SOUNDS = [(0.05 * np.random.default_rng(seed).standard_normal(32_000)).astype(np.float32) for seed in range(3)]


def layers(student: Student) -> list[MemoryLayer]:
    return [layer for segment in student.ordered for layer in segment.layers if isinstance(layer, MemoryLayer)]


def heard() -> list[torch.Tensor]:
    """What the units were watched on, as log-mel."""
    draw = np.random.default_rng(1)
    padded = [data.fbank(data.pad_like_serving(sound, draw)) for sound in SOUNDS]
    return [torch.from_numpy(one[: len(one) // FRAMES * FRAMES])[None] for one in padded]


@pytest.mark.parametrize("constant", [-3.0, 2.0], ids=["silent", "constant"])
def test_units_that_say_nothing_new_go_and_nothing_changes(constant: float) -> None:
    whole, draw = small.student(), np.random.default_rng(3)
    with torch.no_grad():
        for layer in layers(whole):
            useless = draw.permutation(96)[:32]
            layer.up.weight[useless] = 0.0
            layer.up.bias[useless] = constant
    smaller = pruned(whole, 64, SOUNDS)
    assert [tuple(layer.up.weight.shape) for layer in layers(smaller)] == [(64, 384)] * 6
    with torch.no_grad():
        for features in heard():
            torch.testing.assert_close(smaller(features)[1], whole(features)[1], atol=2e-4, rtol=0)


def test_what_varies_and_is_read_most_stays() -> None:
    """Beside taking as many units at random, over the sound that they were chosen on."""
    whole = small.student()
    chosen = pruned(whole, 32, SOUNDS)
    draw = np.random.default_rng(4)

    def off(student: Student) -> float:
        with torch.no_grad():
            return sum(float(F.mse_loss(student(one)[0][0], whole(one)[0][0])) for one in heard())

    at_random = []
    for _ in range(8):
        other = Student(chosen.shape, whole.feature_mean, whole.feature_deviation).eval()
        weights = whole.state_dict()
        for name in [name.removesuffix(".up.bias") for name in weights if name.endswith(".up.bias")]:
            kept = torch.from_numpy(draw.permutation(96)[:32])
            weights[f"{name}.up.weight"] = weights[f"{name}.up.weight"][kept]
            weights[f"{name}.up.bias"] = weights[f"{name}.up.bias"][kept]
            weights[f"{name}.down.weight"] = weights[f"{name}.down.weight"][:, kept]
        other.load_state_dict(weights)
        at_random.append(off(other))
    assert off(chosen) < min(at_random)


@pytest.mark.parametrize(("shape", "hidden", "code"), [
    (small.CONFORMER, 64, "prune_architecture"),
    (small.MEMORY, 96, "prune_width"),
    (small.MEMORY, 50, "prune_width"),
    (small.MEMORY, 0, "prune_width"),
])  # fmt: skip
def test_what_cannot_be_pruned_is_refused(shape: small.Shape, hidden: int, code: str) -> None:
    with pytest.raises(ConfigError) as refused:
        pruned(small.student(shape), hidden, SOUNDS)
    assert refused.value.code == code


def test_the_command_writes_a_student_of_the_smaller_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(small.student(), tmp_path / "whole.safetensors")
    one = data.Utterance("a", "train", "", "a.wav", "somebody", 2.0, "", "human", "")
    monkeypatch.setattr(data, "recipe_utterances", lambda _: [one])
    monkeypatch.setattr(data.Shards, "read", lambda *_: SOUNDS[0])
    out = tmp_path / "smaller.safetensors"
    done = CliRunner().invoke(app, ["prune", str(tmp_path / "whole.safetensors"), "--hidden", "64", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "million weights" in done.output
    assert stored_student(out).shape.hidden == 64
