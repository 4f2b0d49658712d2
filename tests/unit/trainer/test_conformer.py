"""The conformer: one set of weights for every chunk, the same numbers however many chunks come at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.trainer import small

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.checkpoint import save_weights, stored_student
from stenoflow_trainer.model import Merged, Shape, Student, new_layer

CHUNKS = [1, 2, 4, 8]


@pytest.fixture(scope="module")
def student() -> Student:
    return small.student(small.CONFORMER)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_served_chunks_equal_the_whole_that_was_trained(student: Student, chunk: int) -> None:
    features, merged = small.log_mel(2, 48), Merged(student, chunk)
    expected = small.whole(student, features, chunk).numpy()
    for cuts in ([chunk], [chunk, 2 * chunk], [48]):
        got, _ = small.in_chunks(small.torch_step(merged), small.initial(merged, 2), features, cuts)
        assert np.abs(got - expected).max() < 1e-4


def test_chunks_matter_and_zero_is_the_whole(student: Student) -> None:
    features = small.log_mel(1, 40)
    whole = small.whole(student, features)
    assert torch.allclose(small.whole(student, features, 40), whole, atol=1e-5)
    assert (small.whole(student, features, 4) - whole).abs().max() > 1e-2


@pytest.mark.parametrize("chunk", CHUNKS)
def test_nothing_is_heard_beyond_the_own_chunk_nor_before_the_left_context(student: Student, chunk: int) -> None:
    features = small.log_mel(1, 48)
    later = features.copy()
    later[:, 4 * 24 :] += 5.0
    before, after = small.whole(student, features, chunk), small.whole(student, later, chunk)
    assert torch.equal(before[:, : 2 * 24], after[:, : 2 * 24])
    if chunk > 1:  # 24 is the begin of a chunk for all: its first step hears its last
        later = features.copy()
        later[:, 4 * (23 + chunk) :] += 5.0
        assert not torch.equal(before[:, 48], small.whole(student, later, chunk)[:, 48])


def test_a_last_chunk_that_is_cut_short_attends_to_nothing_beyond_it(student: Student) -> None:
    layer = student.segments[0].layers[0]
    x = torch.randn(2, 10, 384, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = layer(x, 4)
        assert y.shape == x.shape
        assert torch.allclose(layer(torch.cat([x, torch.zeros(2, 2, 384)], dim=1), 4)[:, :8], y[:, :8], atol=1e-5)


@pytest.mark.parametrize("chunk", [2, 4])
def test_the_graph_equals_torch(student: Student, chunk: int) -> None:
    features, merged = small.log_mel(3, 24), Merged(student, chunk)
    step = small.onnx_step(merged, int8=False)
    expected = small.whole(student, features, chunk).numpy()
    for cuts in ([chunk], [3 * chunk, chunk]):
        got, _ = small.in_chunks(step, small.initial(merged, 3), features, cuts)
        assert np.abs(got - expected).max() < 1e-3


def test_int8_is_bit_exact_whatever_the_chunks_and_the_companions(student: Student) -> None:
    merged = Merged(student, 4)
    step = small.onnx_step(merged, int8=True)
    mine = small.log_mel(1, 48)
    expected, end = small.in_chunks(step, small.initial(merged, 1), mine, [4])
    for cuts in ([8], [4, 12], [48]):
        got, state = small.in_chunks(step, small.initial(merged, 1), mine, cuts)
        assert np.array_equal(got, expected)
        assert all(np.array_equal(state[name], end[name]) for name in end)
    others = small.log_mel(7, 48, seed=3) * 3.0 - 11.0
    among, _ = small.in_chunks(step, small.initial(merged, 8), np.concatenate([others, mine]), [8])
    assert np.array_equal(among[-1:], expected)


def test_stored_weights_know_their_shape(student: Student, tmp_path: Path) -> None:
    save_weights(student, tmp_path / "weights.safetensors")
    assert stored_student(tmp_path / "weights.safetensors").shape == small.CONFORMER


def test_it_learns(student: Student) -> None:
    layer = small.student(small.CONFORMER).segments[0].layers[0]
    x = torch.randn(2, 24, 384, generator=torch.Generator().manual_seed(2))
    wanted = torch.roll(x, 1, dims=1)
    optimiser, losses = torch.optim.Adam(layer.parameters(), 1e-3), []
    for _ in range(30):
        loss = (layer(x, 4)[:, 1:] - wanted[:, 1:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_architecture_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="take memory or conformer"):
        new_layer(Shape(architecture="rnn"), 1)
