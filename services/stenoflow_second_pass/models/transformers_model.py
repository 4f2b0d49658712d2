"""Any CTC or sequence-to-sequence speech model of the transformers library, where torch is installed.

What its folder says is believed (``config.json``); weights are read from safetensors only, and no code of a model's own
is run. Utterances are read one by one: padding beside a longer neighbour changes what many of these models hear.
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
from stenoflow_second_pass.models.weights import require

RUNTIME: Final = {"torch": "torch", "transformers": "transformers>=5.23,<5.24"}

TOKENS_A_SECOND: Final = 7
TOKENS_MORE: Final = 8
_SHORTEST: Final = SAMPLE_RATE // 10


class TransformersModel:
    """A model of ``AutoModelForCTC`` or ``AutoModelForSpeechSeq2Seq``; prompts are ignored.

    Args:
        folder: weights, configuration, and what its processor needs; or a name on Hugging Face.
        name: for logs.
        device: ``cpu``, ``cuda`` or ``auto``; what is asked for and missing is refused.

    Raises:
        ConfigError: torch, transformers or the device is not there.
        BundleError: the folder holds no such model.
    """

    batch: Final = 1

    def __init__(self, folder: str, name: str, device: str = "auto") -> None:
        require(name, RUNTIME)
        import torch
        import transformers

        gpu = device != "cpu" and torch.cuda.is_available()
        if device == "cuda" and not gpu:
            raise ConfigError("device_missing", "device cuda was asked for, but torch sees none: set cpu or auto")
        if not gpu:
            torch.set_num_threads(1)  # one thread a process: see PLATFORM in the acoustic engine
        self._torch: Any = torch
        self._device = "cuda" if gpu else "cpu"
        self.name: Final = name
        self.summary: Final = f"{self._device}, {'float16' if gpu else 'float32, one thread'}"
        options: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float16 if gpu else torch.float32}
        try:
            config = transformers.AutoConfig.from_pretrained(folder)
            processor: Any = transformers.AutoProcessor
            self._processor: Any = processor.from_pretrained(folder)
            self._ctc = any("CTC" in architecture for architecture in config.architectures or ())
            kind = transformers.AutoModelForCTC if self._ctc else transformers.AutoModelForSpeechSeq2Seq
            model: Any = kind.from_pretrained(folder, **options)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError("model_damaged", f"{folder} is no speech model for transformers: {error}") from None
        self._model = model.to(self._device).eval()

    def read(self, utterances: Sequence[NDArray[np.float32]], prompts: Sequence[str]) -> list[Reading]:
        """See :meth:`stenoflow_second_pass.models.base.SpeechModel.read`."""
        assert len(utterances) == len(prompts), "a prompt an utterance"
        with self._torch.inference_mode():
            return [self._read_ctc(sound) if self._ctc else self._read_sequence(sound) for sound in utterances]

    def _inputs(self, samples: NDArray[np.float32]) -> dict[str, Any]:
        sound = np.zeros(max(len(samples), _SHORTEST), np.float32)
        sound[: len(samples)] = samples
        inputs = self._processor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        half = self._model.dtype
        return {
            name: value.to(self._device, half) if value.is_floating_point() else value.to(self._device)
            for name, value in inputs.items()
        }

    def _read_ctc(self, samples: NDArray[np.float32]) -> Reading:
        """The best path; its log-probability counts the frames that emit a token."""
        logits = self._model(**self._inputs(samples)).logits[0].float()
        log_probs, best = logits.log_softmax(-1).max(-1)
        blank = self._model.config.pad_token_id
        emitting = (best != blank) & (best != self._torch.nn.functional.pad(best, (1, 0), value=-1)[:-1])
        tokens = int(emitting.sum())
        text = str(self._processor.batch_decode(best[None])[0]).strip()
        return Reading(text, float(log_probs[emitting].mean()) if tokens else 0.0, tokens, True)

    def _read_sequence(self, samples: NDArray[np.float32]) -> Reading:
        limit = int(TOKENS_A_SECOND * len(samples) / SAMPLE_RATE) + TOKENS_MORE
        found = self._model.generate(
            **self._inputs(samples),
            do_sample=False,
            num_beams=1,
            max_new_tokens=limit,
            return_dict_in_generate=True,
            output_scores=True,
        )
        scores = self._model.compute_transition_scores(found.sequences, found.scores, normalize_logits=True)[0]
        text = self._processor.batch_decode(found.sequences, skip_special_tokens=True)[0].strip()
        steps = len(found.scores)
        finished = steps < limit
        return Reading(text, float(scores.float().mean()), steps - finished, finished)


def load_transformers(device: str, folder: str) -> TransformersModel:
    """A folder, or a name on Hugging Face.

    Raises:
        ConfigError: a package or the device is missing.
        BundleError: see :class:`TransformersModel`.
    """
    return TransformersModel(folder, f"transformers:{Path(folder).name}", device)
