"""The teacher (QuartzNet 15x5) and the cache of what it says about every recording.

The student never hears from the teacher at training time: one pass writes, for every 40 ms step, the
log-mel features, six *levels* (inner activations, projected to 384 numbers) and the output log-probabilities.
The front end follows the teacher's card (`shared/teacher/README.md`); it sees whole utterances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

from stenoflow_trainer import data

LEVELS = ("h54", "h105", "h156", "h207", "h258", "h263")  # ends of the five block groups, last layer
WIDTH = 384  # numbers a level and step
SYMBOLS = 29
FFT, HANN, MELS = 512, 320, 64

Array = npt.NDArray[np.float32]


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


class Teacher:
    """The ONNX graph with its inner levels as further outputs."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        graph = onnx.load(model)
        for name in LEVELS:
            graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, samples: data.Samples) -> tuple[list[Array], Array]:
        """Runs one utterance of a whole number of 40 ms steps.

        Returns:
            (levels, log_probs): six arrays [T, 2 * channels], the two 20 ms frames of a step joined,
            and float32 [T, 2, 29].
        """
        steps = len(samples) // data.STEP
        features = teacher_features(samples)[None]
        outputs = self._session.run(["logprobs", *LEVELS], {"audio_signal": features})
        levels = [out[0].T[: 2 * steps].reshape(steps, -1) for out in outputs[1:]]
        return levels, outputs[0][0][: 2 * steps].reshape(steps, 2, SYMBOLS)


@dataclass(frozen=True)
class Projection:
    """Per level the mean and a matrix to 384 numbers of mean variance 1; and the log-mel statistics.

    mean: [C]; matrix: [C, 384]; kept: share of the variance kept; feature_mean/deviation: [80].
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
        """Takes the teacher's levels ([T, C] each) and the student's log-mel [4 T, 80] of one utterance."""
        if not self._sum:
            self._sum = [np.zeros(level.shape[1]) for level in levels]
            self._square = [np.zeros((level.shape[1], level.shape[1])) for level in levels]
        for total, square, level in zip(self._sum, self._square, levels, strict=True):
            total += level.sum(axis=0)
            square += level.T @ level
        self._count += len(levels[0])
        self._features.append(features)

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
