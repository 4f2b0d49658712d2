"""The served form must say what the trained form says, however sound is cut and whoever else is in the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tests.unit.trainer import small

from stenoflow_trainer.checkpoint import load_weights, save_weights
from stenoflow_trainer.export import write_acoustic
from stenoflow_trainer.model import Merged, normalise

CUTS = [[1], [2], [4], [8], [1, 3, 2]]


@pytest.fixture(scope="module")
def merged() -> Merged:
    return Merged(small.student())


@pytest.fixture(scope="module")
def int8(merged: Merged) -> small.Step:
    return small.onnx_step(merged, int8=True)


def test_merging_changes_nothing(merged: Merged) -> None:
    features = small.log_mel(2, 40)
    got, _ = small.in_chunks(small.torch_step(merged), small.initial(merged, 2), features, [40])
    assert np.abs(got - small.whole(merged.student, features).numpy()).max() < 1e-4


@pytest.mark.parametrize("cuts", CUTS)
def test_merged_chunks_equal_the_whole(merged: Merged, cuts: list[int]) -> None:
    features = small.log_mel(2, 48)
    step = small.torch_step(merged)
    expected, end = small.in_chunks(step, small.initial(merged, 2), features, [48])
    got, state = small.in_chunks(step, small.initial(merged, 2), features, cuts)
    assert np.abs(got - expected).max() < 1e-4
    for name, value in end.items():
        assert np.allclose(state[name], value, rtol=1e-4, atol=1e-3), name


def test_float_graph_equals_torch(merged: Merged) -> None:
    features = small.log_mel(3, 24)
    step = small.onnx_step(merged, int8=False)
    got, _ = small.in_chunks(step, small.initial(merged, 3), features, [5])
    assert np.abs(got - small.whole(merged.student, features).numpy()).max() < 1e-3


def test_int8_graph_stays_near_torch(merged: Merged, int8: small.Step) -> None:
    features = small.log_mel(3, 24)
    got, _ = small.in_chunks(int8, small.initial(merged, 3), features, [4])
    expected = small.whole(merged.student, features).numpy()
    assert np.abs(np.exp(got) - np.exp(expected)).max() < 0.05


@pytest.mark.parametrize("cuts", CUTS)
def test_int8_is_bit_exact_whatever_the_chunks(merged: Merged, int8: small.Step, cuts: list[int]) -> None:
    features = small.log_mel(1, 48)
    expected, end = small.in_chunks(int8, small.initial(merged, 1), features, [48])
    got, state = small.in_chunks(int8, small.initial(merged, 1), features, cuts)
    assert np.array_equal(got, expected)
    assert all(np.array_equal(state[name], end[name]) for name in end)


@pytest.mark.parametrize("companions", [1, 2, 15, 31])
def test_int8_is_bit_exact_whoever_else_is_in_the_batch(merged: Merged, int8: small.Step, companions: int) -> None:
    mine = small.log_mel(1, 16)
    others = small.log_mel(companions, 16, seed=companions) * 3.0 - 11.0  # far louder and far quieter
    alone, _ = small.in_chunks(int8, small.initial(merged, 1), mine, [4])
    first, last = np.concatenate([mine, others]), np.concatenate([others, mine])
    among, _ = small.in_chunks(int8, small.initial(merged, companions + 1), first, [4])
    assert np.array_equal(among[:1], alone)
    among, _ = small.in_chunks(int8, small.initial(merged, companions + 1), last, [4])
    assert np.array_equal(among[-1:], alone)


def test_output_hears_nothing_of_the_future(merged: Merged) -> None:
    features = small.log_mel(1, 32)
    changed = features.copy()
    changed[:, 4 * 20 :] += 5.0
    kept = small.whole(merged.student, features)[:, : 2 * 20]
    assert torch.equal(kept, small.whole(merged.student, changed)[:, : 2 * 20])


def test_files_of_a_bundle_are_the_same_twice(merged: Merged, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_acoustic(merged, tmp_path / name)
    for file in ("model.onnx", "initial_state.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    state = load_file(tmp_path / "a" / "initial_state.safetensors")
    assert {name: value.shape for name, value in state.items()} == {
        name: tuple(value.shape[1:]) for name, value in merged.initial_state().items()
    }


def test_normaliser_forgets_gain_but_not_at_once() -> None:
    mean, deviation = torch.full((80,), 8.0), torch.full((80,), 2.0)
    draw = torch.Generator().manual_seed(1)
    x = 8.0 + 2.0 * torch.randn(1, 3000, 80, generator=draw)
    plain, louder = normalise(x, mean, deviation), normalise(x + 4.0, mean, deviation)
    assert torch.allclose(plain[:, -500:].std(), torch.tensor(1.0), atol=0.05)
    assert (louder - plain)[:, :10].mean() > 1.0, "the prior holds at first"
    assert (louder - plain)[:, -500:].abs().mean() < 0.15, "the recording's own statistics hold later"


def test_normaliser_survives_digital_silence() -> None:
    silence = torch.full((1, 6000, 80), -15.9)
    assert normalise(silence, torch.full((80,), 8.0), torch.full((80,), 2.0)).abs().max() < 20.0


def test_stored_weights_are_small_and_near(tmp_path: Path) -> None:
    student = small.student()
    save_weights(student, tmp_path / "weights.safetensors")
    for name, value in load_weights(tmp_path / "weights.safetensors").items():
        original = student.state_dict()[name]
        assert value.shape == original.shape
        assert (value - original).abs().max() <= original.abs().max() / 250
