"""What a teacher says, and the one whose inner activations are known (QuartzNet 15x5).

The student never hears from a teacher at training time: one pass writes, for every 40 ms step, six *levels* (inner
activations, projected to 384 numbers) and the output log-probabilities. The front end follows the teacher's card
(`shared/teacher/README.md`); it sees whole utterances. Teachers that have no levels are in `bundle_teacher`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional as F

from stenoflow_trainer import data

LEVELS = ("h54", "h105", "h156", "h207", "h258", "h263")  # ends of the five block groups, last layer
WIDTH = 384  # numbers a level and step
SYMBOLS = 29
FFT, HANN, MELS = 512, 320, 64
BLOCK = 64  # output frames of a depthwise convolution that one matrix product makes
GAP = 86  # frames of silence between two recordings: half of the widest convolution

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a teacher says of a recording of T steps.

    Args:
        levels: six arrays [T, C]; None where its inside is not known.
        log_probs: natural log over the student's symbols, float32 [T, 2, 29]; None where its own are others.
        text: what it understood, where that is all there is.
    """

    levels: list[Array] | None
    log_probs: Array | None
    text: str = ""


class Teacher(Protocol):
    """Hears whole recordings."""

    gives_levels: bool
    gives_emissions: bool

    def __call__(self, recordings: Sequence[data.Samples]) -> list[Said]:
        """What it says of each, of a whole number of 40 ms steps."""
        ...


@cache
def _slaney_mel() -> Array:
    """[64, 257] triangles of unit area, 0 to 8000 Hz on Slaney's scale (Auditory Toolbox, 1998)."""
    top = 15.0 + 27.0 * np.log(8.0) / np.log(6.4)
    mel = np.linspace(0.0, top, MELS + 2)
    edges = np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))
    hertz = np.linspace(0.0, 8000.0, FFT // 2 + 1)
    left, centre, right = (edges[i : i + MELS, None] for i in range(3))
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    triangles: Array = (np.clip(np.minimum(rising, falling), 0.0, None) * 2.0 / (right - left)).astype(np.float32)
    return triangles


@cache
def _hann() -> Array:
    """The 320-sample symmetric Hann window in the middle of 512 samples."""
    return np.pad(np.hanning(HANN), (FFT - HANN) // 2).astype(np.float32)


def teacher_features(samples: data.Samples) -> Array:
    """Normalised log-mel features, float32 [64, ceil(N / 160)], each band over the utterance."""
    samples = np.pad(samples, (0, max(0, FFT - len(samples))))
    emphasised = samples.copy()
    emphasised[1:] -= np.float32(0.97) * samples[:-1]
    frames = -(-len(samples) // data.HOP)
    padded = np.pad(emphasised, FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, FFT)[:: data.HOP][:frames] * _hann()
    power = np.square(np.abs(np.fft.rfft(windows, axis=1))).astype(np.float32)
    log_mel = np.log(_slaney_mel() @ power.T + np.float32(2.0**-24))
    centred = log_mel - log_mel.mean(axis=1, keepdims=True)
    normalised: Array = (centred / (log_mel.std(axis=1, ddof=1, keepdims=True) + 1e-5)).astype(np.float32)
    return normalised


class QuartzNet:
    """The teacher's ONNX graph, run by torch in bfloat16 over many recordings at once.

    ONNX Runtime spends half of its time in depthwise convolutions one recording at a time.  Here the recordings lie
    one after the other in time with silence between, and a depthwise convolution is a product with a banded matrix
    (`_banded`), which matrix units do well: four times as fast.
    """

    gives_levels = gives_emissions = True

    def __init__(self, model: Path) -> None:
        graph = onnx.load(model).graph
        constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if node.op_type == "Cast":
                constants[node.output[0]] = constants[node.input[0]].astype(np.float32)
            elif node.op_type == "DequantizeLinear":
                quantized, scale, zero = (constants[name] for name in node.input)
                shape = (-1,) + (1,) * (quantized.ndim - 1)
                whole = quantized.astype(np.float32) - zero.astype(np.float32).reshape(shape)
                constants[node.output[0]] = whole * scale.astype(np.float32).reshape(shape)
            elif node.op_type in ("Conv", "Relu", "Add"):
                self._nodes.append(node)
        self._convolutions = {
            node.output[0]: _Convolution(node, constants) for node in self._nodes if node.op_type == "Conv"
        }
        self._last_use = {name: at for at, node in enumerate(self._nodes) for name in node.input}

    @torch.inference_mode()
    def __call__(self, recordings: Sequence[data.Samples]) -> list[Said]:
        """See :class:`Teacher`; levels are [T, 2 * channels], the two 20 ms frames of a step joined."""
        steps = [len(samples) // data.STEP for samples in recordings]
        begins = np.cumsum([0, *(2 * count + GAP for count in steps)]).tolist()
        frames = -(-begins.pop() // BLOCK) * BLOCK  # of 20 ms
        signal, sound = torch.zeros(64, 2 * frames), torch.zeros(frames)
        for samples, begin, count in zip(recordings, begins, steps, strict=True):
            features = teacher_features(samples)[:, : 4 * count]
            signal[:, 2 * begin : 2 * begin + features.shape[1]] = torch.from_numpy(features)
            sound[begin : begin + 2 * count] = 1.0
        wanted = self._run(signal.bfloat16(), sound.bfloat16())
        log_probs = wanted.pop().float().log_softmax(0)
        found = []
        for begin, count in zip(begins, steps, strict=True):
            spans = [value[:, begin : begin + 2 * count].float().T.numpy() for value in [*wanted, log_probs]]
            *levels, emissions = [np.ascontiguousarray(span).reshape(count, -1) for span in spans]
            found.append(Said(levels, emissions.reshape(count, 2, SYMBOLS)))
        return found

    def _run(self, signal: torch.Tensor, sound: torch.Tensor) -> list[torch.Tensor]:
        """signal: bfloat16 [64, 2 T]; sound: 1 where a recording is, [T].  Returns the levels and the logits."""
        values = {self._nodes[0].input[0]: signal}
        for at, node in enumerate(self._nodes):
            inputs = [values[name] for name in node.input if name in values]
            if node.op_type == "Conv":
                result = self._convolutions[node.output[0]](inputs[0], sound)
            elif node.op_type == "Relu":
                result = inputs[0].relu()
            else:
                result = inputs[0] + inputs[1]
            values[node.output[0]] = result
            for name in node.input:
                if self._last_use[name] == at and name not in LEVELS:
                    values.pop(name, None)
        return [values[name] for name in [*LEVELS, self._nodes[-1].output[0]]]


class _Convolution:
    """A pointwise or a depthwise convolution of the graph, on [channels, frames] in bfloat16."""

    def __init__(self, node: onnx.NodeProto, constants: dict[str, npt.NDArray[Any]]) -> None:
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        self._weight = constants[node.input[1]]  # [out, in or 1, taps]
        self._bias = torch.tensor(constants[node.input[2]])[:, None].bfloat16() if len(node.input) > 2 else None
        self._pad, (self._stride,) = list(attributes["pads"]), attributes["strides"]
        self._depthwise = attributes["group"] > 1
        if self._depthwise:
            matrix = _banded(self._weight[:, 0], attributes["dilations"][0], self._stride)
        else:
            matrix = self._weight[:, :, 0]
        self._matrix = torch.tensor(matrix).bfloat16()

    def __call__(self, x: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        if not self._depthwise:
            return self._matrix @ x if self._bias is None else torch.addmm(self._bias, self._matrix, x)
        # Between the recordings biases have made something of nothing: the original was trained with masks.
        silent = x if self._stride > 1 else x * sound
        window = self._matrix.shape[1]
        blocks = F.pad(silent, (self._pad[0], self._pad[1] + window)).unfold(1, window, self._stride * BLOCK)
        blocks = blocks[:, : x.shape[1] // (self._stride * BLOCK)]
        return torch.bmm(blocks, self._matrix).flatten(1)


def _banded(taps: Array, dilation: int, stride: int) -> Array:
    """[C, K] taps as [C, window, BLOCK]: column j holds them from row `stride * j` on."""
    channels, count = taps.shape
    matrix = np.zeros((channels, stride * (BLOCK - 1) + dilation * (count - 1) + 1, BLOCK), np.float32)
    for j in range(BLOCK):
        matrix[:, stride * j : stride * j + dilation * (count - 1) + 1 : dilation, j] = taps
    return matrix


@dataclass(frozen=True)
class Projection:
    """Per level the mean and a matrix to 384 numbers of mean variance 1; and the log-mel statistics.

    mean: [C]; matrix: [C, 384]; kept: share of the variance kept; none where the teacher has no levels.
    feature_mean/deviation: [80].
    """

    mean: list[Array]
    matrix: list[Array]
    kept: list[float]
    feature_mean: Array
    feature_deviation: Array

    def __call__(self, levels: list[Array]) -> npt.NDArray[np.float16]:
        """Returns float16 [T, 6, 384]."""
        projected = [
            (level - mean) @ matrix for level, mean, matrix in zip(levels, self.mean, self.matrix, strict=True)
        ]
        return np.stack(projected, axis=1).astype(np.float16)

    def save(self, path: Path, *, half: bool = False) -> None:
        """Writes a safetensors file that `load` reads.  half: matrices as float16, 5 MB instead of 9."""
        kind = np.float16 if half else np.float32
        tensors = {f"mean.{k}": mean for k, mean in enumerate(self.mean)}
        tensors |= {f"matrix.{k}": np.ascontiguousarray(matrix, kind) for k, matrix in enumerate(self.matrix)}
        tensors["kept"] = np.array(self.kept, np.float32)
        tensors["feature_mean"], tensors["feature_deviation"] = self.feature_mean, self.feature_deviation
        save_file(tensors, path)

    @staticmethod
    def load(path: Path) -> Projection:
        """Reads what `save` wrote."""
        t = load_file(path)
        count = len(t["kept"])
        return Projection(
            mean=[t[f"mean.{k}"] for k in range(count)],
            matrix=[t[f"matrix.{k}"].astype(np.float32) for k in range(count)],
            kept=[float(share) for share in t["kept"]],
            feature_mean=t["feature_mean"],
            feature_deviation=t["feature_deviation"],
        )


class ProjectionFit:
    """Gathers first and second moments utterance by utterance, then makes the projection (PCA)."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: list[npt.NDArray[np.float64]] = []
        self._square: list[npt.NDArray[np.float64]] = []
        self._features: list[Array] = []

    def add(self, levels: list[Array], features: Array) -> None:
        """Takes an utterance: the teacher's levels ([T, C] each, or none) and the student's log-mel [4 T, 80]."""
        self._features.append(features)
        if not levels:
            return
        if not self._sum:
            self._sum = [np.zeros(level.shape[1]) for level in levels]
            self._square = [np.zeros((level.shape[1], level.shape[1])) for level in levels]
        for total, square, level in zip(self._sum, self._square, levels, strict=True):
            total += level.sum(axis=0)
            square += level.T @ level
        self._count += len(levels[0])

    def projection(self) -> Projection:
        """The 384 directions of most variance a level, one scale for all of a level."""
        means, matrices, kept = [], [], []
        for total, square in zip(self._sum, self._square, strict=True):
            mean = total / self._count
            variances, directions = np.linalg.eigh(square / self._count - np.outer(mean, mean))
            top = np.maximum(variances[::-1][:WIDTH], 0.0)
            means.append(mean.astype(np.float32))
            matrices.append((directions[:, ::-1][:, :WIDTH] / np.sqrt(top.mean())).astype(np.float32))
            kept.append(float(top.sum() / variances.sum()))
        features = np.concatenate(self._features)
        return Projection(means, matrices, kept, features.mean(axis=0), features.std(axis=0))
