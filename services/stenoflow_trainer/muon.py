"""Muon: momentum whose update is made orthogonal, for matrices inside a network.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the scale 0.2 sqrt(longer
side) is of J. Liu et al., "Muon is scalable for LLM training", 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stenoflow_trainer.kernels import nesterov

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic of the post above: steepest at 0, stays near 1


def orthogonal(matrix: Tensor, steps: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Nearly the U V^T of `matrix` by Newton-Schulz iterations; singular values end in about [0.7, 1.2].

    Args:
        matrix: [..., rows, columns]; many of one shape at once take less time than one by one.
        steps: iterations.
        dtype: of the iterations.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    norm = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True) + 1e-7
    x: Tensor = (matrix / norm).to(dtype)
    x = x.mT if tall else x
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.mT
        polynomial = (gram @ gram).mul_(c).add_(gram, alpha=b)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        x = polynomial @ x
    return x.mT if tall else x


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
    def updates(self, gradients: list[Tensor], scale: float) -> Tensor:
        """Takes the gradients in, times `scale`; returns this process's updates, flat, bfloat16, as they were made."""
        made: dict[int, Tensor] = {}
        for number, (gradient, buffer) in enumerate(zip(gradients, self.buffers, strict=True)):
            mixed = nesterov(buffer, gradient, scale, self._momentum)
            if number % self._shares == self._share:
                made[number] = mixed
        for shape in {mixed.shape for mixed in made.values()}:
            numbers = [number for number, mixed in made.items() if mixed.shape == shape]
            stacked = torch.stack([made[number] for number in numbers])
            made |= zip(numbers, orthogonal(stacked, self._steps), strict=True)
        return torch.cat([update.flatten() for update in made.values()])

    @torch.no_grad()
    def apply(self, updates: list[Tensor], rate: float, decay: float) -> None:
        """Moves the matrices: decoupled decay, then the update.  updates: one flat tensor a process, in order."""
        for share, flat in enumerate(updates):
            parameters = self._parameters[share :: self._shares]
            for parameter, update in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
                scale = 0.2 * max(parameter.shape) ** 0.5
                parameter.mul_(1.0 - rate * decay).add_(update.view_as(parameter), alpha=-rate * scale)
