"""What a training step does between its matrix products: norms, ReLU, memories, losses.

In plain torch these cost as much time as the products, because each of many operations goes through memory once more.
So `kernels.c` does each in one pass; gcc compiles it in a second when a process first needs it.  In other types than
bfloat16, of another width, or where there is no gcc, the same is done in plain torch, which tests compare with.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, TAPS = 384, 8  # of a level; of a memory, its own step included
LOOSE = ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]  # sums may be vectors
COMPILE = ["gcc", "-std=c11", "-O3", "-march=native", *LOOSE, "-fPIC", "-shared"]


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled kernels; None without gcc or on a processor that has no bfloat16."""
    if not shutil.which(COMPILE[0]) or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    source = Path(__file__).with_name("kernels.c")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernels.so"
        subprocess.run([*COMPILE, f"-DWIDTH={WIDTH}", str(source), "-o", str(made), "-lm"], check=True)
        library = ctypes.CDLL(str(made))
    library.error_forward.restype = library.ctc.restype = ctypes.c_double
    return library


def _fits(x: Tensor, *others: Tensor) -> bool:
    """Whether the kernels are for these: x [..., WIDTH] and parameters, all bfloat16."""
    alike = all(one.dtype == torch.bfloat16 and one.device.type == "cpu" for one in (x, *others))
    return x.shape[-1] == WIDTH and alike and _library() is not None


def _call(name: str, *arguments: Tensor | int | float) -> Any:
    """Runs a kernel.  Tensors are passed by address, so they have to be contiguous where the kernel expects it."""
    given: list[Any] = []
    for one in arguments:
        if isinstance(one, Tensor):
            given.append(ctypes.c_void_p(one.data_ptr()))
        else:
            given.append(ctypes.c_double(one) if isinstance(one, float) else ctypes.c_long(one))
    return getattr(_library(), name)(*given)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """`norm` of [..., D]; its epsilon is torch's own."""
    if not _fits(x, norm.weight):
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    made: Tensor = _LayerNorm.apply(x.contiguous(), norm.weight, norm.bias)  # type: ignore[no-untyped-call]
    return made


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows = x.numel() // WIDTH
        y, statistics = torch.empty_like(x), torch.empty(rows, 2)
        _call("norm_forward", rows, x, weight, bias, y, statistics)
        ctx.save_for_backward(x, weight, statistics)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, weight, statistics = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.zeros(WIDTH), torch.zeros(WIDTH)
        g = gradients[0].contiguous()
        _call("norm_backward", len(statistics), g, x, weight, statistics, grad_x, grad_weight, grad_bias)
        return grad_x, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)


def feed_forward(x: Tensor, up: nn.Linear, down: nn.Linear) -> Tensor:
    """down(ReLU(up(x))) of [B, T, D]."""
    if not _fits(x, up.weight, down.weight):
        y: Tensor = down(F.relu(up(x)))
        return y
    flat = _FeedForward.apply(x.flatten(0, -2), up.weight, up.bias, down.weight, down.bias)  # type: ignore[no-untyped-call]
    made: Tensor = flat.view(x.shape)
    return made


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, up_bias: Tensor, down: Tensor, down_bias: Tensor) -> Tensor:
        linear = torch.ops.mkldnn._linear_pointwise  # adds bias and ReLU before the product leaves the registers
        hidden = linear(x, up, up_bias, "relu", [], "")
        ctx.save_for_backward(x, hidden, up, down)
        projected: Tensor = linear(hidden, down, down_bias, "none", [], "")
        return projected

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, hidden, up, down = ctx.saved_tensors
        g = gradients[0].contiguous()
        grad_hidden, grad_bias = g @ down, torch.zeros(len(up))
        _call("relu_backward", *hidden.shape, hidden, grad_hidden, grad_bias)
        return grad_hidden @ up, grad_hidden.T @ x, grad_bias.to(up.dtype), g.T @ hidden, g.sum(0)


def remember(x: Tensor, p: Tensor, taps: Tensor, stride: int) -> Tensor:
    """x[t] + p[t] + sum_i taps[i] p[t - i stride], p being 0 before its first step; [B, T, D]."""
    if not _fits(x, p, taps) or len(taps) != TAPS:
        padded = F.pad(p, (0, 0, (len(taps) - 1) * stride, 0)).mT
        kernel = taps.flip(0).T[:, None]
        return x + p + F.conv1d(padded, kernel, dilation=stride, groups=p.shape[2]).mT
    made: Tensor = _Remember.apply(x.contiguous(), p.contiguous(), taps, stride)  # type: ignore[no-untyped-call]
    return made


class _Remember(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, taps: Tensor, stride: int) -> Tensor:
        taps, y = taps.float(), torch.empty_like(x)
        _call("memory_forward", len(x), x.shape[1], stride, x, p, taps, y)
        ctx.save_for_backward(p, taps)
        ctx.stride = stride
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        p, taps = ctx.saved_tensors
        g = gradients[0].contiguous()
        grad_p, grad_taps = torch.empty_like(p), torch.zeros_like(taps)
        _call("memory_backward", len(p), p.shape[1], ctx.stride, g, p, taps, grad_p, grad_taps)
        return g, grad_p, grad_taps.to(p.dtype), None


def squared_error(level: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Sum of (level - target)^2 over the steps that count.

    Args:
        level: [B, T, D].
        target: float16 [B, T, D], one of the levels of [B, T, 6, D].
        counts: bool [B, T].
    """
    if not _fits(level):
        return ((level - target) * counts[:, :, None]).square().sum()
    made: Tensor = _SquaredError.apply(level.contiguous(), target, counts.contiguous())  # type: ignore[no-untyped-call]
    return made


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, level: Tensor, target: Tensor, counts: Tensor) -> Tensor:
        difference = torch.empty_like(level)
        total = _call("error_forward", counts.numel(), target.stride(1), level, target, counts, difference)
        ctx.save_for_backward(difference)
        return torch.tensor(total)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (difference,) = ctx.saved_tensors
        return difference * float(2.0 * gradients[0]), None, None


def ctc(log_probs: Tensor, texts: list[Tensor], lengths: list[int], blank: int) -> Tensor:
    """Sum of minus the log-likelihoods of texts; what does not fit into its frames counts as 0.

    Args:
        log_probs: float32 [B, U, V].
        texts: token ids of every row.
        lengths: how many frames of every row are its own.
        blank: id of the symbol that stands for nothing.
    """
    if log_probs.device.type != "cpu" or _library() is None:
        sizes, frames = torch.tensor([len(text) for text in texts]), torch.tensor(lengths)
        rows, every = log_probs.transpose(0, 1), torch.cat(texts)
        return F.ctc_loss(rows, every, frames, sizes, blank=blank, reduction="sum", zero_infinity=True)
    made: Tensor = _Ctc.apply(log_probs.contiguous(), texts, lengths, blank)  # type: ignore[no-untyped-call]
    return made


class _Ctc(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, texts: list[Tensor], lengths: list[int], blank: int) -> Tensor:
        total, grad = 0.0, torch.zeros_like(log_probs)
        for row, text, frames, its in zip(log_probs, texts, lengths, grad, strict=True):
            scratch = torch.empty(frames * (2 * len(text) + 1), dtype=torch.float64)
            loss = _call("ctc", frames, row.shape[1], row, len(text), text, blank, scratch, its)
            if isfinite(loss):
                total += loss
            else:
                its.zero_()
        ctx.save_for_backward(grad)
        return torch.tensor(total)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * gradients[0], None, None, None


def nesterov(buffer: Tensor, gradient: Tensor, scale: float, momentum: float) -> Tensor:
    """Moves `buffer`, float32, towards scale * gradient, and returns what an update is made of, bfloat16."""
    if gradient.dtype != torch.bfloat16 or gradient.device.type != "cpu" or _library() is None:
        scaled = gradient.float() * scale
        buffer.lerp_(scaled, 1.0 - momentum)
        return scaled.lerp(buffer, momentum).to(torch.bfloat16)
    made = torch.empty_like(gradient)
    _call("nesterov", gradient.numel(), scale, momentum, gradient, buffer, made)
    return made
