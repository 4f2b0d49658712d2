"""A conformer layer that works in chunks: attention over its own chunk and some steps before, causal convolution.

Conformer: Gulati et al. 2020 (arXiv 2005.08100), post-norm left to the segment's own. Chunks with limited left context,
and chunk sizes drawn in training so that one set of weights serves every latency: Zhang et al. 2020, "Unified streaming
and non-streaming two-pass end-to-end speech recognition" (WeNet, arXiv 2012.05481). Distances enter as a learnt bias a
head (Raffel et al. 2020), so no layer has to know how late in a segment it is.

Every chunk is a product of its own with its own window of keys, never a row of one large masked product: what a chunk
says is the same however many are given at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stenoflow_trainer.kernels import TAPS, WIDTH, layer_norm

HEADS = 6
FAR = 48
"""Steps from which on all distances are one."""
NO_SUCH_STEP = -1e9


class Half(nn.Module):
    """Half of a feed-forward block: x + (384-hidden SiLU, hidden-384) / 2."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, hidden)
        self.down = nn.Linear(hidden, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 384] to the same."""
        y: Tensor = x + 0.5 * self.down(F.silu(self.up(layer_norm(x, self.norm))))
        return y


class ConformerLayer(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward; residual throughout; [B, T, 384] to the same.

    Args:
        stride: of the convolution's 8 taps, in steps.
        hidden: width of the feed-forward blocks.
        left: steps before its chunk that a step attends to.
    """

    def __init__(self, stride: int, hidden: int, left: int) -> None:
        super().__init__()
        self.stride, self.left = stride, left
        self.first = Half(hidden)
        self.attend_norm = nn.LayerNorm(WIDTH)
        self.ask = nn.Linear(WIDTH, 3 * WIDTH)  # queries, keys, values
        self.answer = nn.Linear(WIDTH, WIDTH)
        self.distance = nn.Parameter(torch.zeros(HEADS, 2 * FAR + 1))
        self.conv_norm = nn.LayerNorm(WIDTH)
        self.gate = nn.Linear(WIDTH, 2 * WIDTH)
        self.taps = nn.Parameter(0.05 * torch.randn(TAPS, WIDTH))
        self.mix_norm = nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.last = Half(hidden)

    @property
    def rows(self) -> int:
        """Rows of the state: keys, values, and the convolution's past."""
        return 2 * self.left + (TAPS - 1) * self.stride

    def forward(self, x: Tensor, chunk: int) -> Tensor:
        """Whole sequences from their beginning, in chunks of so many steps; 0: the whole is one chunk."""
        start = x.new_zeros(len(x), self.rows, WIDTH)
        return self.forward_chunk(x, start, x.new_zeros(len(x), 1, 1, dtype=torch.float32), chunk or x.shape[1])[0]

    def forward_chunk(self, x: Tensor, past: Tensor, seen: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        """Some chunks (the last may be cut short where the sound ends).

        Args:
            past: the state, [B, rows, 384].
            seen: steps before these, [B, 1, 1], float.
            chunk: steps a chunk.

        Returns:
            (output, new past).
        """
        keys, values, heard = past[:, : self.left], past[:, self.left : 2 * self.left], past[:, 2 * self.left :]
        x = self.first(x)
        queries, k, v = self.ask(layer_norm(x, self.attend_norm)).chunk(3, dim=-1)
        keys, values = torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1)
        x = x + self.answer(self._attend(queries, keys, values, seen, chunk))
        a, b = self.gate(layer_norm(x, self.conv_norm)).chunk(2, dim=-1)
        heard = torch.cat([heard, a * torch.sigmoid(b)], dim=1)
        steps, reach = x.shape[1], (TAPS - 1) * self.stride
        y = self.taps[0] * heard[:, reach:]
        for i in range(1, TAPS):
            y = y + self.taps[i] * heard[:, reach - i * self.stride : reach - i * self.stride + steps]
        x = x + self.mix(F.silu(layer_norm(y, self.mix_norm)))
        kept = torch.cat([keys[:, steps:], values[:, steps:], heard[:, steps:]], dim=1)
        return self.last(x), kept

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor, chunk: int) -> Tensor:
        size, steps, _ = queries.shape
        count = -(-steps // chunk)
        missing = count * chunk - steps
        window = self.left + chunk
        asked = F.pad(queries, (0, 0, 0, missing)).view(size, count, chunk, HEADS, -1).transpose(2, 3)
        # [B, chunks, 384, window] each
        k, v = (F.pad(one, (0, 0, 0, missing)).unfold(1, window, chunk) for one in (keys, values))
        k = k.reshape(size, count, HEADS, -1, window)
        v = v.reshape(size, count, HEADS, -1, window).transpose(3, 4)
        at = torch.arange(count, device=queries.device)[:, None] * chunk + torch.arange(window, device=queries.device)
        at = at - self.left  # steps from where these begin, [chunks, window]
        there = (at + seen >= 0) & (at < steps)  # [B, chunks, window]
        scores = (asked @ k).float() * (WIDTH // HEADS) ** -0.5 + self.bias(chunk).float()
        scores = scores.masked_fill(~there[:, :, None, None], NO_SUCH_STEP)
        said = scores.softmax(-1).to(v.dtype) @ v
        together: Tensor = said.transpose(2, 3).reshape(size, count * chunk, WIDTH)
        return together[:, :steps]

    def bias(self, chunk: int) -> Tensor:
        """What distance adds to the scores of a chunk and its window, [heads, chunk, left + chunk]."""
        query, key = torch.arange(chunk)[:, None] + self.left, torch.arange(self.left + chunk)
        return self.distance[:, ((query - key).clamp(-FAR, FAR) + FAR).to(self.distance.device)]
