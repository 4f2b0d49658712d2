"""Values and gradients of the compiled kernels must be those that autograd finds in plain torch."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stenoflow_trainer import kernels
from stenoflow_trainer.model import Segment, Shape

WIDTH, TAPS = kernels.WIDTH, kernels.TAPS

pytestmark = pytest.mark.skipif(kernels._library() is None, reason="no gcc, or a processor without bfloat16")


def random(*shape: int, seed: int = 1) -> Tensor:
    """Numbers that bfloat16 has."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16).float()


def assert_same(function: Callable[..., Tensor], module: nn.Module, *inputs: Tensor, within: float = 0.01) -> None:
    """`function(module, *inputs)` in bfloat16 (kernels) and float32 (torch): value, gradients of inputs and weights."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.add_(0.1 * random(*parameter.shape, seed=number)).copy_(parameter.to(torch.bfloat16))
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        converted, given = copy.deepcopy(module).to(dtype), [one.to(dtype).requires_grad_() for one in inputs]
        value = function(converted, *given)
        wanted = [*given, *converted.parameters()]
        found.append([value, *torch.autograd.grad((value * random(*value.shape, seed=9)).sum(), wanted)])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.float() - theirs).norm() < within * theirs.norm()
        assert (ours.float() - theirs).abs().max() < 5 * within * theirs.abs().max()


@pytest.mark.parametrize("steps", [3, 16, 61])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_memory(steps: int, stride: int) -> None:
    inputs = random(3, steps, WIDTH), random(3, steps, WIDTH, seed=2), 0.3 * random(TAPS, WIDTH)
    assert_same(lambda _, x, p, taps: kernels.remember(x, p, taps, stride), nn.Identity(), *inputs)


def test_layer_norm() -> None:
    assert_same(lambda norm, x: kernels.layer_norm(x, norm), nn.LayerNorm(WIDTH), 3.0 * random(5, 7, WIDTH) + 2.0)


def test_feed_forward() -> None:
    layers = nn.ModuleList([nn.Linear(WIDTH, 96), nn.Linear(96, WIDTH)])
    assert_same(lambda both, x: kernels.feed_forward(x, *both), layers, random(5, 7, WIDTH))


def test_squared_error_reads_one_level_of_six_where_it_counts() -> None:
    targets, counts = random(5, 7, 6, WIDTH, seed=2).to(torch.float16), random(5, 7) > 0.0
    targets[0, 0] = 3e-6  # a subnormal
    assert_same(
        lambda _, level: kernels.squared_error(level, targets[:, :, 4], counts), nn.Identity(), random(5, 7, WIDTH)
    )


def test_segment_learns_the_same_in_both_forms() -> None:
    torch.manual_seed(1)
    # Looser: where rounding moves a number over the ReLU's edge, a gradient comes or goes.
    segment = Segment(WIDTH, (1, 2, 4), Shape(hidden=128))
    assert_same(lambda segment, x: segment(x, 0), segment, random(3, 24, WIDTH), within=0.1)


def test_ctc_is_that_of_torch() -> None:
    # Repeated letters, one letter, a text that just fits, one that does not, none; rows shorter than the batch.
    logits = 3.0 * random(6, 40, 29)
    letters = [[3, 3, 5, 3, 3, 3], [7], [1, 2] * 10, [1] * 25, [], list(range(15))]
    texts = [torch.tensor(row, dtype=torch.long) for row in letters]
    lengths = [40, 31, 20, 40, 12, 40]
    found = []
    for library in (kernels._library, lambda: None):
        given = logits.clone().requires_grad_()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(kernels, "_library", library)
            loss = kernels.ctc(given.log_softmax(-1), texts, lengths, 28)
        found.append((loss.detach(), torch.autograd.grad(2.0 * loss, given)[0]))
    (loss, gradient), (expected, wanted) = found
    assert torch.allclose(loss, expected, rtol=1e-4)
    assert torch.allclose(gradient, wanted, atol=1e-3)


def test_momentum() -> None:
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        buffer, gradient = random(33, 7), random(33, 7, seed=2).to(dtype)
        found.append((kernels.nesterov(buffer, gradient, 0.7, 0.95).float(), buffer))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=0.02, rtol=0.01)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)
