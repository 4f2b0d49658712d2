"""The student: six causal segments, in the form that is trained and in the merged form that is served.

    log-mel [B, 4 T, 80] -> running normaliser -> 48 frames a step [B, T, 3840]
        -> segment 1 -> level 1 -> segment 2 -> ... -> level 6 -> head -> [B, T, 2, 29]

A level is 384 numbers a step, the teacher's level delayed.  In training every segment ends in a level, so that
each can be taught by itself; in serving a segment's linear out and the next one's linear in are one matrix.
A segment's layers are of one of two architectures: `memory` (FSMN: S. Zhang et al., "Deep-FSMN for large vocabulary
continuous speech recognition", 2018) works step by step; `conformer` (conformer.py) works in chunks of steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.conformer import ConformerLayer
from stenoflow_trainer.kernels import TAPS, WIDTH, feed_forward, layer_norm, remember

BINS = 80
FRAMES = 4  # log-mel frames a step
SPLICE = 48  # frames that the first segment sees, its own four last
HIDDEN = 1024
EMISSIONS, SYMBOLS, BLANK = 2, 29, 28
PRIOR_FRAMES = 50.0  # weight of the global statistics in the running normaliser
VARIANCE_FLOOR = 1e-2

State = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """Layout of the student.

    strides: for every segment the stride of each of its layers' taps, in steps.
    delays: for every level how many steps after the teacher's it comes; the last is the look-ahead.
    hidden: width inside feed-forward blocks.
    architecture: of the layers, `memory` or `conformer`.
    left: conformer: steps before its chunk that a step attends to.
    """

    strides: tuple[tuple[int, ...], ...] = ((1, 2, 4), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2))
    delays: tuple[int, ...] = (2, 4, 6, 8, 10, 10)
    hidden: int = HIDDEN
    architecture: str = "memory"
    left: int = 32

    @property
    def look_ahead(self) -> int:
        """Steps by which the output lags behind the sound."""
        return self.delays[-1]


class MemoryLayer(nn.Module):
    """LayerNorm, 384-1024 ReLU, 1024-384, memory, residual; [B, T, 384] to the same."""

    def __init__(self, stride: int, hidden: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, hidden)
        self.down = nn.Linear(hidden, WIDTH)
        self.taps = nn.Parameter(0.05 * torch.randn(TAPS, WIDTH))

    @property
    def rows(self) -> int:
        """Rows of the state."""
        return (TAPS - 1) * self.stride

    def forward(self, x: Tensor, chunk: int = 0) -> Tensor:
        """Whole sequences from their beginning; any chunks give the same."""
        return remember(x, self.project(x), self.taps, self.stride)

    def project(self, x: Tensor) -> Tensor:
        """What the memory remembers, [B, T, 384]."""
        return feed_forward(layer_norm(x, self.norm), self.up, self.down)

    def forward_chunk(self, x: Tensor, past: Tensor, seen: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        """Some steps.  past: the last 7 * stride steps of the projection, [B, 7 * stride, 384].

        Returns:
            (output, new past).
        """
        p = torch.cat([past, self.project(x)], dim=1)
        steps, rows = x.shape[1], past.shape[1]
        own = p[:, rows:]
        y = x + own
        for i in range(TAPS):
            begin = rows - i * self.stride
            y = y + self.taps[i] * p[:, begin : begin + steps]
        return y, p[:, steps:]


Layer = MemoryLayer | ConformerLayer


def new_layer(shape: Shape, stride: int) -> Layer:
    """A layer with random weights.

    Raises:
        ConfigError: there is no such architecture.
    """
    if shape.architecture == "memory":
        return MemoryLayer(stride, shape.hidden)
    if shape.architecture == "conformer":
        return ConformerLayer(stride, shape.hidden, shape.left)
    raise ConfigError("architecture_unknown", f"{shape.architecture} is no architecture: take memory or conformer")


class Segment(nn.Module):
    """Linear in, LayerNorm, layers, LayerNorm, linear out to a level."""

    def __init__(self, inputs: int, strides: tuple[int, ...], shape: Shape) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, WIDTH)
        self.enter_norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(new_layer(shape, stride) for stride in strides)
        self.leave_norm = nn.LayerNorm(WIDTH)
        self.leave = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, chunk: int) -> Tensor:
        """[B, T, inputs] to a level, [B, T, 384]."""
        h = layer_norm(self.enter(x), self.enter_norm)
        for layer in self.layers:
            h = layer(h, chunk)
        level: Tensor = self.leave(layer_norm(h, self.leave_norm))
        return level


class Student(nn.Module):
    """The form that is trained.  It computes in the type of its parameters, but for features and log-probabilities."""

    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(self, shape: Shape, feature_mean: Tensor, feature_deviation: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("feature_mean", feature_mean.clone())
        self.register_buffer("feature_deviation", feature_deviation.clone())
        inputs = [SPLICE * BINS] + [WIDTH] * (len(shape.strides) - 1)
        self.segments = nn.ModuleList(
            Segment(size, strides, shape) for size, strides in zip(inputs, shape.strides, strict=True)
        )
        self.head = nn.Linear(WIDTH, EMISSIONS * SYMBOLS)

    def forward(
        self, features: Tensor, forced: Tensor | None = None, mask: Tensor | None = None, chunk: int = 0
    ) -> tuple[list[Tensor], Tensor]:
        """Whole utterances.

        Args:
            features: log-mel [B, 4 T, 80], float32, from the beginning of the segment, the flush frames included.
            forced: the teacher's levels, delayed, [B, T, 6, 384]; None: the student's own everywhere.
            mask: bool [B, 6]: where segment k + 1 reads the teacher's level k instead of the student's.
            chunk: steps that a conformer sees at once; 0: all.

        Returns:
            (levels, log_probs): six arrays [B, T, 384], and [B, T, 2, 29], float32.
        """
        x = normalise(features, self.feature_mean, self.feature_deviation)
        x = splice(x.to(self.head.weight.dtype))
        levels = []
        for k, segment in enumerate(self.segments):
            level = segment(x, chunk)
            levels.append(level)
            x = level
            if forced is not None and mask is not None and mask[:, k].any():
                x = torch.where(mask[:, k, None, None], forced[:, :, k].to(level.dtype), level)
        # The head always reads the student's own last level: it is what serving has.
        emissions = self.head(level).float()
        return levels, emissions.reshape(*emissions.shape[:2], EMISSIONS, SYMBOLS).log_softmax(-1)

    @property
    def ordered(self) -> list[Segment]:
        """The segments, first to last."""
        return [segment for segment in self.segments if isinstance(segment, Segment)]


def normalise(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Running mean and deviation a band from the first frame on, with a prior of 50 frames of the global ones."""
    x = x - mean
    count = PRIOR_FRAMES + torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
    running = x.cumsum(dim=1) / count
    square = (PRIOR_FRAMES * deviation**2 + (x * x).cumsum(dim=1)) / count
    return (x - running) / (square - running * running).clamp_min(VARIANCE_FLOOR).sqrt()


def splice(x: Tensor) -> Tensor:
    """[B, 4 T, 80] to [B, T, 3840]: every step its own four frames and the 44 before, zeros before the first."""
    x = F.pad(x, (0, 0, SPLICE - FRAMES, 0))
    x = x.reshape(len(x), -1, FRAMES * x.shape[2])
    groups = SPLICE // FRAMES
    return torch.cat([x[:, i : x.shape[1] - groups + 1 + i] for i in range(groups)], dim=-1)


@dataclass
class _Block:
    """A merged linear, the LayerNorm after it and the layers up to the next merged linear."""

    weight: Tensor
    bias: Tensor
    norm: nn.LayerNorm
    layers: list[Layer]
    leave_norm: nn.LayerNorm


class Merged:
    """The served form: linears without anything between them are one, the state is explicit.

    Pure: `forward_chunk` returns the new state and changes nothing.  Every state has its batch axis first:

        count [B, 1, 1]    frames counted by the normaliser, the prior's 50 included
        sum, square [B, 1, 80]   of the features less the global mean
        frames [B, 44, 80]       the last normalised frames
        memory [B, R, 384]       the pasts of all layers one after the other, `rows` of each

    Args:
        student: with the weights.
        chunk: steps that are served at once: `forward_chunk` takes whole chunks.  1 for `memory`.
    """

    def __init__(self, student: Student, chunk: int = 1) -> None:
        self.student, self.chunk = student, chunk
        self.mean, self.deviation = student.feature_mean, student.feature_deviation
        self.blocks: list[_Block] = []
        with torch.no_grad():
            segments = student.ordered
            weight: Tensor = segments[0].enter.weight
            bias: Tensor = segments[0].enter.bias
            following = [segment.enter for segment in segments[1:]] + [student.head]
            for segment, after in zip(segments, following, strict=True):
                layers = [layer for layer in segment.layers if isinstance(layer, MemoryLayer | ConformerLayer)]
                self.blocks.append(_Block(weight, bias, segment.enter_norm, layers, segment.leave_norm))
                weight = after.weight @ segment.leave.weight
                bias = after.weight @ segment.leave.bias + after.bias
            self.head_weight, self.head_bias = weight, bias

    @property
    def layers(self) -> list[Layer]:
        """All layers in order."""
        return [layer for block in self.blocks for layer in block.layers]

    def initial_state(self, batch: int = 1) -> State:
        """The state at the beginning of a segment, float32."""
        rows = sum(layer.rows for layer in self.layers)
        one = {
            "count": torch.full((1, 1), PRIOR_FRAMES),
            "sum": torch.zeros(1, BINS),
            "square": PRIOR_FRAMES * self.deviation[None] ** 2,
            "frames": torch.zeros(SPLICE - FRAMES, BINS),
            "memory": torch.zeros(rows, WIDTH),
        }
        return {name: value.expand(batch, *value.shape).clone() for name, value in one.items()}

    @torch.no_grad()
    def forward_chunk(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """A whole number of chunks.  features: log-mel [B, 4 T, 80].

        Returns:
            (log_probs [B, 2 T, 29], new state).
        """
        x = features - self.mean
        count = torch.cat([state["count"], torch.ones_like(x[:, :, :1])], dim=1).cumsum(1)
        total = torch.cat([state["sum"], x], dim=1).cumsum(1)
        square = torch.cat([state["square"], x * x], dim=1).cumsum(1)
        running = total[:, 1:] / count[:, 1:]
        variance = square[:, 1:] / count[:, 1:] - running * running
        x = torch.cat([state["frames"], (x - running) / variance.clamp_min(VARIANCE_FLOOR).sqrt()], dim=1)
        following = {"count": count[:, -1:], "sum": total[:, -1:], "square": square[:, -1:]}
        following["frames"] = x[:, -(SPLICE - FRAMES) :]
        h = splice(x)[:, SPLICE // FRAMES - 1 :]
        pasts, row = [], 0
        seen = (state["count"] - PRIOR_FRAMES) / FRAMES
        for block in self.blocks:
            h = block.norm(F.linear(h, block.weight, block.bias))
            for layer in block.layers:
                past = state["memory"][:, row : row + layer.rows]
                h, past = layer.forward_chunk(h, past, seen, self.chunk)
                pasts.append(past)
                row += layer.rows
            h = block.leave_norm(h)
        following["memory"] = torch.cat(pasts, dim=1)
        emissions = F.linear(h, self.head_weight, self.head_bias)
        return emissions.reshape(len(h), -1, SYMBOLS).log_softmax(-1), following
