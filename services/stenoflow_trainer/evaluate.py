"""Word and character error rates of a bundle, whole utterances through the exported graph.

Greedy, or with the bundle's language model in the service's own search.  Whole utterances, no segmenter: what the
service says in a stream is measured by the service.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt
import onnxruntime
from safetensors.numpy import load_file

from stenoflow_trainer import data

Array = npt.NDArray[np.float32]
Decode = Callable[[Array], str]


class Acoustic:
    """A bundle's step graph on one thread."""

    def __init__(self, bundle: Path) -> None:
        self.card: dict[str, Any] = json.loads((bundle / "bundle.json").read_text("utf-8"))
        part = self.card["acoustic"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(bundle / part["file"]), options, providers=["CPUExecutionProvider"]
        )
        self._initial = load_file(bundle / part["initial_state"])
        self._flush = np.array(self.card["features"]["flush_frame"], np.float32)
        self._late = part["look_ahead_ms"] // 40

    def initial_state(self, batch: int) -> dict[str, Array]:
        """States by name, [batch, ...]."""
        return {name: np.repeat(value[None], batch, axis=0) for name, value in self._initial.items()}

    def step(self, features: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """features [B, 4 T, 80] to (log_probs [B, 2 T, 29], new state)."""
        names = list(state)
        feed = {"features": features} | {f"state_{name}": state[name] for name in names}
        outputs = self._session.run(["log_probs", *(f"next_{name}" for name in names)], feed)
        return outputs[0], dict(zip(names, outputs[1:], strict=True))

    def whole(self, features: Array) -> Array:
        """Emissions of one utterance, [U, 29]: flushed at the end, the look-ahead taken off the beginning."""
        features = features[: len(features) // 4 * 4]
        flush = np.repeat(self._flush[None], 4 * self._late, axis=0)
        log_probs, _ = self.step(np.concatenate([features, flush])[None], self.initial_state(1))
        return log_probs[0, 2 * self._late :]

    def greedy(self, log_probs: Array) -> str:
        """Best path, repeats and blanks taken out."""
        tokens = self.card["tokens"]
        best = log_probs.argmax(axis=1)
        first = np.concatenate([[True], best[1:] != best[:-1]]) & (best != tokens["blank"])
        return " ".join("".join(tokens["symbols"][token] for token in best[first]).split())

    def speed(self, batch: int, *, repeats: int = 60) -> float:
        """Audio seconds per processor second at 160 ms a call."""
        draw = np.random.default_rng(0)
        features = (self._flush + draw.standard_normal((batch, 16, len(self._flush)))).astype(np.float32)
        state = self.initial_state(batch)
        for _ in range(5):
            self.step(features, state)
        begin = time.process_time()
        for _ in range(repeats):
            _, state = self.step(features, state)
        return repeats * batch * 0.16 / (time.process_time() - begin)


def beam_search(bundle: Path, **weights: float) -> Decode:
    """The service's own search over whole utterances.

    weights: fields of the decoder's `SearchOptions` to set over the card's, for tuning.
    """
    # Imported here: greedy figures need neither the decoder nor its libraries.
    from stenoflow.bundle.loading import load_bundle
    from stenoflow_decoder.model import DecodingModel
    from stenoflow_decoder.search import BeamSearch

    model = DecodingModel.from_bundle(load_bundle(bundle), **weights)

    def decode(log_probs: Array) -> str:
        search = BeamSearch(model)
        for frame in log_probs:
            search.push(frame)
        return search.readings()[0].text

    return decode


@dataclass(frozen=True, slots=True)
class Counted:
    """Errors and lengths of one utterance."""

    speaker: str
    word_errors: int
    words: int
    letter_errors: int
    letters: int


def count(speaker: str, reference: str, hypothesis: str) -> Counted:
    """Levenshtein errors by word and by character."""
    by_word = jiwer.process_words(reference, hypothesis)
    by_letter = jiwer.process_characters(reference, hypothesis)
    return Counted(
        speaker,
        by_word.substitutions + by_word.deletions + by_word.insertions,
        by_word.substitutions + by_word.deletions + by_word.hits,
        by_letter.substitutions + by_letter.deletions + by_letter.insertions,
        by_letter.substitutions + by_letter.deletions + by_letter.hits,
    )


def rates(counted: Iterable[Counted], *, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """WER and CER in per cent with 95 % intervals from a bootstrap over speakers."""
    sums: dict[str, npt.NDArray[np.int64]] = {}
    for one in counted:
        numbers = np.array([one.word_errors, one.words, one.letter_errors, one.letters])
        sums[one.speaker] = sums.get(one.speaker, np.zeros(4, np.int64)) + numbers
    table = np.stack(list(sums.values()))
    chosen = np.random.default_rng(seed).integers(0, len(table), (draws, len(table)))
    drawn = table[chosen].sum(axis=1)
    total = table.sum(axis=0)

    def interval(values: npt.NDArray[np.float64]) -> list[float]:
        return [round(float(value), 1) for value in np.percentile(values, [2.5, 97.5])]

    return {
        "wer": round(100 * float(total[0] / total[1]), 1),
        "wer_interval": interval(100 * drawn[:, 0] / drawn[:, 1]),
        "cer": round(100 * float(total[2] / total[3]), 1),
        "cer_interval": interval(100 * drawn[:, 2] / drawn[:, 3]),
        "words": int(total[1]),
        "speakers": len(table),
    }


def emissions(
    acoustic: Acoustic, utterances: list[data.Utterance], shards: data.Shards
) -> Iterator[tuple[data.Utterance, Array]]:
    """Log-probabilities of every utterance."""
    for one in utterances:
        yield one, acoustic.whole(data.fbank(shards.read(one)))


def evaluate(
    acoustic: Acoustic, name: str, utterances: list[data.Utterance], shards: data.Shards, searches: dict[str, Decode]
) -> list[dict[str, Any]]:
    """One row a search: set, condition and `rates`."""
    counted: dict[str, list[Counted]] = {condition: [] for condition in searches}
    for one, log_probs in emissions(acoustic, utterances, shards):
        for condition, decode in searches.items():
            counted[condition].append(count(one.speaker, one.text, decode(log_probs)))
    return [{"set": name, "condition": condition} | rates(rows) for condition, rows in counted.items()]
