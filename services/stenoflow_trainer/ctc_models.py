"""What can be fine-tuned: our own student, and every CTC model of transformers."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stenoflow.base.errors import ConfigError
from stenoflow.text.plain import plain_text
from stenoflow_trainer import data
from stenoflow_trainer.augment import augment
from stenoflow_trainer.batches import padded_steps, tokens
from stenoflow_trainer.bundle import rehash
from stenoflow_trainer.checkpoint import save_weights
from stenoflow_trainer.export import write_acoustic
from stenoflow_trainer.kernels import ctc
from stenoflow_trainer.model import BLANK, EMISSIONS, FRAMES, Merged, Student
from stenoflow_trainer.train import greedy

HOLD: Final = 0.5
"""Share of the loss that holds on to what the model said before."""
HARDNESS: Final = 0.3
IGNORED: Final = -100


class CtcModel(Protocol):
    """What is tuned, in place."""

    def loss(self, sounds: Sequence[data.Samples], texts: Sequence[str], draw: np.random.Generator) -> Tensor:
        """What is to become less: of a batch of recordings (16 kHz) and their normalised texts; a scalar."""
        ...

    def transcribe(self, samples: data.Samples) -> str:
        """The greedy text, normalised."""
        ...

    def parameters(self) -> list[torch.nn.Parameter]:
        """What moves."""
        ...

    def save(self, folder: Path) -> None:
        """Writes what is served."""
        ...


def device() -> torch.device:
    """The accelerator of this process, if there is one; of several each process of torchrun takes its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cuda")


class StudentCtc:
    """Our streaming student.

    Args:
        student: what training goes on from.
        weights: where the tuned weights are kept, to tune on from.
        chunk: steps that it is served in; 1 for `memory`.
    """

    def __init__(self, student: Student, weights: Path, chunk: int = 1) -> None:
        self._device = device()
        self._student = student.to(self._device)
        self._before = copy.deepcopy(self._student).eval().requires_grad_(False)
        self._weights, self._chunk = weights, chunk

    def loss(self, sounds: Sequence[data.Samples], texts: Sequence[str], draw: np.random.Generator) -> Tensor:
        """See :class:`CtcModel`: CTC of the spoiled sound, and KL to what was said of the clean one before."""
        plain = [data.fbank(data.pad_like_serving(samples, draw)) for samples in sounds]
        steps = [len(one) // FRAMES for one in plain]
        spoiled = [augment(one, draw, HARDNESS) for one in plain]
        frames, counts = self._emissions(self._student, spoiled), [EMISSIONS * count for count in steps]
        said = ctc(frames.cpu(), [tokens(text) for text in texts], counts, BLANK) / sum(counts)
        with torch.no_grad():
            before = self._emissions(self._before, plain)
        own = torch.arange(frames.shape[1])[None] < torch.tensor(counts)[:, None]
        held = F.kl_div(frames[own], before[own], reduction="batchmean", log_target=True)
        return (1 - HOLD) * said.to(held.device) + HOLD * held

    def transcribe(self, samples: data.Samples) -> str:
        """See :class:`CtcModel`."""
        features = data.fbank(samples[: len(samples) // data.STEP * data.STEP])
        with torch.no_grad():
            return greedy(self._emissions(self._student, [features])[0, : EMISSIONS * (len(features) // FRAMES)])

    def parameters(self) -> list[torch.nn.Parameter]:
        """See :class:`CtcModel`."""
        return list(self._student.parameters())

    def save(self, folder: Path) -> None:
        """The bundle's acoustic part, and the weights to go on from."""
        student = self._student.cpu().eval()
        write_acoustic(Merged(student, self._chunk), folder)
        rehash(folder)
        save_weights(student, self._weights)

    def _emissions(self, student: Student, features: Sequence[Any]) -> Tensor:
        """Log-probabilities [B, U, 29] of whole utterances, flushed, the look-ahead taken off the beginning."""
        late = student.shape.look_ahead
        longest = FRAMES * padded_steps(max(len(one) for one in features) // FRAMES + late)
        batch = student.feature_mean.repeat(len(features), longest, 1)
        for row, one in enumerate(features):
            batch[row, : len(one)] = torch.from_numpy(one)
        with torch.autocast(self._device.type, torch.bfloat16):
            _, log_probs = student(batch, chunk=self._chunk)
        frames: Tensor = log_probs[:, late:].flatten(1, 2)
        return frames


class TransformersCtc:
    """A model of ``AutoModelForCTC`` with its processor.

    Args:
        source: folder, or name on the hub. Weights are read from safetensors only.

    Raises:
        ConfigError: there is no such model.
    """

    def __init__(self, source: str) -> None:
        import transformers

        try:
            processor: Any = transformers.AutoProcessor
            self._processor: Any = processor.from_pretrained(source)
            kind: Any = transformers.AutoModelForCTC
            model = kind.from_pretrained(source, use_safetensors=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError("model_missing", f"{source} is no CTC model for transformers: {error}") from None
        self._device = device()
        self._model: Any = model.to(self._device)
        if hasattr(model, "freeze_feature_encoder"):
            model.freeze_feature_encoder()  # its convolutions know sound; few hours would only spoil them
        model.config.ctc_loss_reduction, model.config.ctc_zero_infinity = "mean", True
        self._before = copy.deepcopy(self._model).eval().requires_grad_(False)
        letters = set(self._processor.tokenizer.get_vocab())
        self._upper = "E" in letters and "e" not in letters

    def loss(self, sounds: Sequence[data.Samples], texts: Sequence[str], draw: np.random.Generator) -> Tensor:
        """See :class:`CtcModel`: the model's own loss, and KL to what it said before."""
        inputs = self._inputs(sounds)
        written = [text.upper() if self._upper else text for text in texts]
        labels = self._processor.tokenizer(written, padding=True, return_tensors="pt")
        wanted = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, IGNORED).to(self._device)
        self._model.train()
        heard = self._model(**inputs, labels=wanted)
        with torch.no_grad():
            before = self._before(**inputs).logits.log_softmax(-1)
        now = heard.logits.log_softmax(-1)
        held = F.kl_div(now.flatten(0, 1), before.flatten(0, 1), reduction="batchmean", log_target=True)
        loss: Tensor = (1 - HOLD) * heard.loss + HOLD * held
        return loss

    def transcribe(self, samples: data.Samples) -> str:
        """See :class:`CtcModel`."""
        self._model.eval()
        with torch.no_grad():
            best = self._model(**self._inputs([samples])).logits.argmax(-1)
        return plain_text(self._processor.batch_decode(best)[0])

    def parameters(self) -> list[torch.nn.Parameter]:
        """See :class:`CtcModel`."""
        return list(self._model.parameters())

    def save(self, folder: Path) -> None:
        """A folder that ``from_pretrained`` reads."""
        self._model.save_pretrained(folder)
        self._processor.save_pretrained(folder)

    def _inputs(self, sounds: Sequence[data.Samples]) -> dict[str, Tensor]:
        given = self._processor(
            [np.asarray(one) for one in sounds],
            sampling_rate=data.SAMPLE_RATE,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {name: value.to(self._device) for name, value in given.items()}
