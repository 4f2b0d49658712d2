"""Moonshine, an encoder and decoder whose work grows with the sound, under plain ONNX Runtime, one thread.

Jeffries et al. 2024, "Moonshine: Speech Recognition for Live Transcription and Voice Commands" (arXiv 2410.15608).
Weights and vocabulary come from the installed ``moonshine-voice`` wheel or from a folder of the same layout; the
package's own library is never loaded. One utterance a run: the encoder normalises over its whole input, so
padding beside a longer neighbour would change what it hears.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_second_pass.models.base import Reading
from stenoflow_second_pass.models.weights import package_folder, read_weights, require

NAME: Final = "moonshine-tiny-en"
RUNTIME: Final = {"onnxruntime": "onnxruntime>=1.32,<1.33"}
WHEEL: Final = {"moonshine_voice": "moonshine-voice==0.0.73"}

ENCODER: Final = "encoder_model.ort"
DECODER: Final = "decoder_model_merged.ort"
VOCABULARY: Final = "tokenizer.bin"
SHA256: Final = {
    ENCODER: "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    DECODER: "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    VOCABULARY: "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}

TOKENS_A_SECOND: Final = 6.5
"""The authors' limit: English speech has fewer, invention has more."""
TOKENS_MORE: Final = 8

_START: Final = 1
_END: Final = 2
_SPECIAL: Final = b"<<ST_"
_SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's sign for it
_SHORTEST: Final = SAMPLE_RATE // 10  # the encoder's three strides (64 x 3 x 2) need 895 samples for a frame

Cache = dict[str, NDArray[Any]]
"""Keys and values of every decoder layer, by the name of the decoder's input that takes them."""


class MoonshineModel:
    """Moonshine of any size; prompts are ignored, it cannot be prompted.

    Args:
        folder: where the three files lie; None takes the installed wheel's, whose hashes are checked.
        name: for logs.

    Raises:
        ConfigError: the wheel, or ONNX Runtime, is not installed.
        BundleError: a file is missing, another one, or no such model.
    """

    batch: Final = 1

    def __init__(self, folder: Path | None = None, name: str = NAME) -> None:
        require(name, RUNTIME if folder else {**RUNTIME, **WHEEL})
        self.name: Final = name
        self.summary: Final = "cpu, int8, one thread" if folder is None else "cpu, one thread"
        hashes = SHA256 if folder is None else {}
        folder = folder or package_folder("moonshine_voice") / "assets" / "tiny-en"
        self._encoder = _session(folder / ENCODER, hashes.get(ENCODER))
        self._decoder = _session(folder / DECODER, hashes.get(DECODER))
        self._vocabulary = parse_vocabulary(read_weights(folder / VOCABULARY, hashes.get(VOCABULARY)))
        self._empty: Cache = {
            one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32)
            for one in self._decoder.get_inputs()
            if one.name.startswith("past_key_values.")
        }
        layers = [name.removeprefix("past_key_values.") for name in self._empty]
        self._own = [layer for layer in layers if ".decoder." in layer]  # grow by one a token
        self._cross = [layer for layer in layers if ".encoder." in layer]  # stay after the first step

    def read(self, utterances: Sequence[NDArray[np.float32]], prompts: Sequence[str]) -> list[Reading]:
        """See :meth:`stenoflow_second_pass.models.base.SpeechModel.read`."""
        assert len(utterances) == len(prompts), "a prompt an utterance"
        return [self._read(samples) for samples in utterances]

    def _read(self, samples: NDArray[np.float32]) -> Reading:
        limit = int(TOKENS_A_SECOND * len(samples) / SAMPLE_RATE) + TOKENS_MORE
        sound = np.zeros((1, max(len(samples), _SHORTEST)), np.float32)
        sound[0, : len(samples)] = samples
        # The decoder takes the mask of the samples and thins it by 384 itself. Given a mask of the encoder's frames,
        # it keeps one in 384 of these, which fits (by broadcast) for up to 384 frames only: 9.2 s.
        mask = np.ones(sound.shape, np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": sound, "attention_mask": mask})
        feeds: Cache = {"encoder_attention_mask": mask, "encoder_hidden_states": hidden, **self._empty}

        token, tokens, log_prob = _START, list[int](), 0.0
        while len(tokens) < limit:
            token, by = self._step(token, feeds)
            log_prob += by
            if token == _END:
                break
            tokens.append(token)
        finished = token == _END
        return Reading(self._text(tokens), log_prob / (len(tokens) + finished), len(tokens), finished)

    def _step(self, token: int, feeds: Cache) -> tuple[int, float]:
        """The likeliest token after `token`, and its log-probability; puts the new cache into `feeds`."""
        first = "use_cache_branch" not in feeds
        grown = self._own + self._cross if first else self._own
        feeds["input_ids"] = np.array([[token]], np.int64)
        feeds["use_cache_branch"] = np.array([not first])
        logits, *caches = self._decoder.run(["logits", *(f"present.{layer}" for layer in grown)], feeds)
        for layer, cache in zip(grown, caches, strict=True):
            feeds[f"past_key_values.{layer}"] = cache
        row = logits[0, -1]
        best = int(row.argmax())
        return best, -float(np.log(np.exp(row - row[best]).sum(dtype=np.float64)))

    def _text(self, tokens: Sequence[int]) -> str:
        pieces = [self._vocabulary[token] for token in tokens if token > _END]
        spoken = b"".join(piece for piece in pieces if not piece.startswith(_SPECIAL))
        return spoken.decode("utf-8", errors="replace").replace(_SPACE, " ").strip()


def load_moonshine(device: str, folder: Path | None = None) -> MoonshineModel:
    """Moonshine of the installed wheel, or of a folder.

    Raises:
        ConfigError: `device` is ``cuda``: the kernels of its int8 weights are the CPU's.
        BundleError: see :class:`MoonshineModel`.
    """
    if device == "cuda":
        raise ConfigError("device_unsuited", "moonshine runs on a CPU only: set the device to cpu or auto")
    return MoonshineModel(folder) if folder is None else MoonshineModel(folder, f"moonshine:{folder.name}")


def parse_vocabulary(content: bytes) -> list[bytes]:
    """The pieces of a ``tokenizer.bin``, by token: each its length, then its bytes.

    A length under 128 is one byte; another is two, the first 128 plus the remainder by 128, the second the rest.

    Raises:
        BundleError: it ends within a piece.
    """
    pieces, at = list[bytes](), 0
    while at < len(content):
        length, at = content[at], at + 1
        if length >= 128 and at < len(content):
            length, at = length - 128 + 128 * content[at], at + 1
        if at + length > len(content):
            raise BundleError("model_damaged", f"{VOCABULARY} ends within its piece {len(pieces)}: restore the file")
        pieces.append(content[at : at + length])
        at += length
    return pieces


def _session(path: Path, sha256: str | None) -> Any:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    # One thread a process, and none that spins: see stenoflow_acoustic.onnx_engine.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    content = read_weights(path, sha256)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (
        errors.Fail,
        errors.InvalidArgument,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as error:
        raise BundleError("model_damaged", f"{path} is no model for ONNX Runtime: {error}") from None
