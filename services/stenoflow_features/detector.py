"""Silero VAD, batched over tracks: the probability of speech in frames of 32 ms.

Here lives the network and the state that it carries. Here never lives a decision: what a probability means is the
segmenter's matter. The weights come from the installed ``silero-vad`` wheel, which is found without being imported
(its package wants torch), and are checked against a hash.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_features.resample import Samples

FRAME: Final = 512
"""32 ms at 16 kHz: the only frame that the network takes."""

CONTEXT: Final = 64
"""Samples of the frame before that the network hears too; zeros after a reset."""

SILENCE_PEAK: Final = 8.0
"""Frames whose samples all lie under this (-72 dBFS peak; mu-law's smallest step) are silence without the network."""

WHEEL: Final = "silero-vad 6.2.3"
SHA256: Final = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"

_FULL_SCALE: Final = np.float32(32768)
_SAMPLE_RATE: Final = np.array(SAMPLE_RATE, np.int64)

Memory = NDArray[np.float32]
"""(2, 128): the network's recurrent state of one track."""

FRESH: Final[Memory] = np.zeros((2, 128), np.float32)
"""The state after a reset."""
FRESH.setflags(write=False)


@dataclass(frozen=True, slots=True)
class Window:
    """What the network hears of one track.

    Args:
        samples: (CONTEXT + FRAME,) float32, int16 units.
        memory: the state after the frame before.
    """

    samples: Samples
    memory: Memory


@dataclass(frozen=True, slots=True)
class Heard:
    """What it makes of it.

    Args:
        probability: of speech in the frame, 0 to 1.
        memory: the state after the frame.
    """

    probability: float
    memory: Memory


def is_silent(window: Window) -> bool:
    """Whether the frame needs no network: nothing in it reaches ``SILENCE_PEAK``. A pure function of the samples."""
    frame = window.samples[CONTEXT:]
    return bool(frame.min() > -SILENCE_PEAK and frame.max() < SILENCE_PEAK)


def weights_path() -> Path:
    """Where the installed wheel keeps the network.

    Raises:
        ConfigError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("silero_vad")  # finds, does not import
    if spec is None or spec.origin is None:
        raise ConfigError(
            "vad_missing", f"the speech detector is not installed: pip install --no-deps {WHEEL.replace(' ', '==')}"
        )
    return Path(spec.origin).parent / "data" / "silero_vad.onnx"


class Detector:
    """The network, one thread, no state of its own: one serves all tracks of a process.

    Args:
        path: the ONNX file; None takes the installed wheel's.
        metrics: where the sound that was asked about is counted.

    Raises:
        ConfigError: the wheel is not installed.
        BundleError: the file is another one than this code was measured with.
    """

    def __init__(self, path: Path | None = None, metrics: FeaturesMetrics | None = None) -> None:
        self._metrics = metrics or FeaturesMetrics()
        path = path or weights_path()
        weights = path.read_bytes()
        found = hashlib.sha256(weights).hexdigest()
        if found != SHA256:
            raise BundleError(
                "vad_unknown", f"{path} has sha256 {found}, expected {SHA256}: install {WHEEL} (--no-deps will do)"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = ort.InferenceSession(weights, options, providers=["CPUExecutionProvider"])

    def hear(self, windows: Sequence[Window]) -> list[Heard]:
        """Probabilities for one frame each of many tracks, in order.

        Silent frames (:func:`is_silent`) cost nothing: probability 0, state unchanged. A track's numbers move by
        less than 1e-5 with the company it is in.

        Args:
            windows: B of them, each of another track.

        Returns:
            B results.
        """
        heard: list[Heard | None] = [Heard(0.0, window.memory) if is_silent(window) else None for window in windows]
        loud = [at for at, result in enumerate(heard) if result is None]
        self._metrics.vad_network.inc(len(loud) * FRAME / SAMPLE_RATE)
        self._metrics.vad_gate.inc((len(windows) - len(loud)) * FRAME / SAMPLE_RATE)
        if loud:
            samples = np.stack([windows[at].samples for at in loud]) / _FULL_SCALE
            memory = np.stack([windows[at].memory for at in loud], axis=1)
            probabilities, memories = self._session.run(None, {"input": samples, "state": memory, "sr": _SAMPLE_RATE})
            for row, at in enumerate(loud):
                heard[at] = Heard(float(probabilities[row, 0]), np.ascontiguousarray(memories[:, row]))
        return [result for result in heard if result is not None]
