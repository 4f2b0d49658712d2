"""Muon: momentum whose update is made orthogonal, for matrices inside a network.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the scale 0.2 sqrt(longer
side) is of J. Liu et al., "Muon is scalable for LLM training", 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic of the post above: steepest at 0, stays near 1


def orthogonal(matrix: Tensor, steps: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Nearly the U V^T of `matrix` by Newton-Schulz iterations; singular values end in about [0.7, 1.2]."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(dtype)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon:
    """Nesterov momentum, orthogonalised.

    With `shares` processes, process `share` makes the update of every shares-th matrix only; the caller exchanges
    the updates (`updates`, one flat tensor a process) and applies all of them (`apply`).  Momentum is kept
    everywhere, because it is cheap and makes checkpoints independent of the number of processes.
    """

    def __init__(
        self, parameters: list[Tensor], *, momentum: float = 0.95, steps: int = 4, share: int = 0, shares: int = 1
    ) -> None:
        self._parameters = parameters
        self._momentum, self._steps = momentum, steps
        self._share, self._shares = share, shares
        self.buffers = [torch.zeros_like(parameter) for parameter in parameters]

    def size(self, share: int) -> int:
        """How many numbers the flat update of process `share` has."""
        return sum(parameter.numel() for parameter in self._parameters[share :: self._shares])

    @torch.no_grad()
    def updates(self) -> Tensor:
        """Takes the gradients in; returns this process's updates, flat, bfloat16 (they were made in it)."""
        made = []
        for number, (parameter, buffer) in enumerate(zip(self._parameters, self.buffers, strict=True)):
            assert parameter.grad is not None, "a matrix without gradient was given to Muon"
            buffer.lerp_(parameter.grad, 1.0 - self._momentum)
            if number % self._shares == self._share:
                nesterov = parameter.grad.lerp(buffer, self._momentum)
                made.append(orthogonal(nesterov, self._steps).flatten())
        return torch.cat(made)

    @torch.no_grad()
    def apply(self, updates: list[Tensor], rate: float, decay: float) -> None:
        """Moves the matrices: decoupled decay, then the update.  updates: one flat tensor a process, in order."""
        for share, flat in enumerate(updates):
            parameters = self._parameters[share :: self._shares]
            for parameter, update in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
                scale = 0.2 * max(parameter.shape) ** 0.5
                parameter.mul_(1.0 - rate * decay).add_(update.view_as(parameter), alpha=-rate * scale)
