"""A CTC model in ONNX that was made for whole utterances, behind the port of windows.

It may hear the waveform ([B, N]) or feature frames ([B, T, F] or [B, F, T]), and be told their number beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import WindowedCard
from stenoflow.bundle.loading import Bundle
from stenoflow_acoustic.engine import Device, Floats
from stenoflow_acoustic.onnx_engine import CUDA, open_session, providers_for

_DEVIATION = 1e-5
"""Added to a standard deviation before dividing by it, as NeMo does."""

_VARIANCE = 1e-7
"""Added to a variance before its root, as transformers does (``Wav2Vec2FeatureExtractor``): quiet sound stays quiet."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the model takes and gives, by name.

    Args:
        sound: its float input.
        shape: of that.
        length: its integer input [B], where it has one, and of which type.
        log_probs: its first output.
    """

    sound: str
    shape: Literal["samples", "frames", "frames last"]
    length: tuple[str, type[np.integer[Any]]] | None
    log_probs: str

    @classmethod
    def of(cls, session: Any, bins: int | None = None) -> Signature:
        """Reads it off a session.

        Args:
            session: of ONNX Runtime.
            bins: F, where it is known; None where only the waveform or what the model says itself will do.

        Raises:
            BundleError: it is no offline CTC model.
        """
        inputs, outputs = session.get_inputs(), session.get_outputs()
        sounds = [node for node in inputs if node.type == "tensor(float)" and len(node.shape) in (2, 3)]
        lengths = [node for node in inputs if node.type in _LENGTHS and len(node.shape) == 1]
        if len(sounds) != 1 or len(lengths) > 1 or len(inputs) != 1 + len(lengths) or len(outputs[0].shape) != 3:
            raise BundleError(
                "bundle_layout",
                f"the model takes {[node.name for node in inputs]}: only sound or features, and perhaps their length, "
                "make an offline CTC model",
            )
        (sound,) = sounds
        length = (lengths[0].name, _LENGTHS[lengths[0].type]) if lengths else None
        if len(sound.shape) == 2:
            return cls(sound.name, "samples", length, outputs[0].name)
        middle, last = sound.shape[1:]
        frames_last = isinstance(middle, int) and not isinstance(last, int)
        if bins is not None and (middle if frames_last else last) != bins:
            raise BundleError("bundle_layout", f"the model hears {sound.shape}, but the card's bins is {bins}")
        return cls(sound.name, "frames last" if frames_last else "frames", length, outputs[0].name)


_LENGTHS: dict[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxWindows:
    """The model of a bundle; see :class:`stenoflow_acoustic.windows.WindowModel`.

    Args:
        bundle: verified.
        device: where to run; what is asked for and missing is refused.

    Raises:
        BundleError: the model and the card do not fit together.
        ConfigError: the device is not there.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto") -> None:
        acoustic = bundle.card.acoustic
        assert isinstance(acoustic, WindowedCard)
        self.precision: str = acoustic.precision
        providers = providers_for(device, self.precision)
        self.device = "cuda" if CUDA in providers else "cpu"
        self._normalise = acoustic.normalise
        self._session = open_session(bundle.folder / acoustic.file, bundle.read(acoustic.file), providers)
        waveform = bundle.card.features.kind == "waveform"
        self._signature = Signature.of(self._session, None if waveform else bundle.card.features.bins)
        if waveform != (self._signature.shape == "samples"):
            raise BundleError(
                "bundle_layout", f"{acoustic.file} hears {self._signature.shape}; the card says otherwise"
            )

    def emissions(self, windows: Floats) -> Floats:
        """See the port."""
        return run_windows(self._session, self._signature, windows, self._normalise)


def run_windows(session: Any, signature: Signature, windows: Floats, normalise: str) -> Floats:
    """Windows [B, T, F] through a model; see :class:`stenoflow_acoustic.windows.WindowModel`.

    Args:
        session: of ONNX Runtime.
        signature: the model's.
        windows: float32.
        normalise: as the card has it.
    """
    heard = windows.reshape(len(windows), -1) if signature.shape == "samples" else windows
    if normalise != "none":
        # Over time; of a waveform all samples are time.
        centred = heard - heard.mean(axis=1, keepdims=True)
        if normalise == "sound":
            deviation = np.sqrt(centred.var(axis=1, keepdims=True) + _VARIANCE)
        else:
            deviation = centred.std(axis=1, keepdims=True, ddof=1) + _DEVIATION
        heard = (centred / deviation).astype(np.float32)
    length = heard.shape[1]
    if signature.shape == "frames last":
        heard = np.ascontiguousarray(heard.transpose(0, 2, 1))
    feeds: dict[str, Any] = {signature.sound: heard}
    if signature.length is not None:
        name, kind = signature.length
        feeds[name] = np.full(len(windows), length, kind)
    (logits,) = session.run([signature.log_probs], feeds)
    # Models that give log-probabilities already are not changed by this.
    said: Floats = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return said
