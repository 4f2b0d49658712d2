"""Measures a bundle: error rates, how late words are shown, how true their confidences are.

Conditions: whole utterances through the exported graph, greedy or with the bundle's language model in the service's own
search; and `streaming` ones, which are the real pipeline (`streaming`, `telephone`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from safetensors.numpy import load_file

from stenoflow.text.plain import plain_text
from stenoflow_trainer import data
from stenoflow_trainer.calibration import Bin, Judged, expected_calibration_error, reliability
from stenoflow_trainer.error_rates import Counted, count, pairs, rates
from stenoflow_trainer.streaming import Heard, Pipeline, hear
from stenoflow_trainer.telephone import TELEPHONE_RATE, over_the_line, pcm16
from stenoflow_trainer.word_delay import Alignment, histogram, summary

Array = npt.NDArray[np.float32]
Decode = Callable[[Array], str]
Listen = Callable[[data.Samples], Mapping[str, Heard]]
"""16 kHz samples of one recording to what is understood of it, by condition."""


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
        self._step = int(part["step_frames"])
        self._late = part["look_ahead_ms"] // 10
        self._thinning = self._step // int(part["emissions_per_step"])

    def initial_state(self, batch: int) -> dict[str, Array]:
        """States by name, [batch, ...]."""
        return {name: np.repeat(value[None], batch, axis=0) for name, value in self._initial.items()}

    def step(self, features: Array, state: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """Features [B, whole steps, 80] to (log_probs [B, U, 29], new state)."""
        names = list(state)
        feed = {"features": features} | {f"state_{name}": state[name] for name in names}
        outputs = self._session.run(["log_probs", *(f"next_{name}" for name in names)], feed)
        return outputs[0], dict(zip(names, outputs[1:], strict=True))

    def whole(self, features: Array) -> Array:
        """Emissions of one utterance, [U, 29]: flushed at the end, the look-ahead taken off the beginning."""
        features = features[: len(features) // 4 * 4]
        more = self._late + -(len(features) + self._late) % self._step
        flushed = np.concatenate([features, np.repeat(self._flush[None], more, axis=0)])
        log_probs, _ = self.step(flushed[None], self.initial_state(1))
        return log_probs[0, self._late // self._thinning :][: len(features) // self._thinning]

    def greedy(self, log_probs: Array) -> str:
        """Best path, repeats and blanks taken out."""
        tokens = self.card["tokens"]
        best = log_probs.argmax(axis=1)
        first = np.concatenate([[True], best[1:] != best[:-1]]) & (best != tokens["blank"])
        return " ".join("".join(tokens["symbols"][token] for token in best[first]).split())

    def speed(self, batch: int, *, repeats: int = 60) -> float:
        """Audio seconds per processor second at 160 ms a call."""
        draw = np.random.default_rng(0)
        features = (self._flush + draw.standard_normal((batch, 16, len(self._flush)))).astype(np.float32)  # 160 ms
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
        search.push(log_probs)
        return search.readings()[0].text

    return decode


def whole(acoustic: Acoustic, searches: Mapping[str, Decode]) -> Listen:
    """Whole utterances, no segmenter: one condition a search."""

    def listen(samples: data.Samples) -> dict[str, Heard]:
        log_probs = acoustic.whole(data.fbank(samples))
        return {condition: Heard(decode(log_probs)) for condition, decode in searches.items()}

    return listen


def streamed(pipelines: Mapping[str, Pipeline], *, telephone: bool) -> Listen:
    """The real pipelines by condition, each with `telephone` also for what a telephone line leaves of the sound."""

    def listen(samples: data.Samples) -> dict[str, Heard]:
        heard = {name: hear(stages, pcm16(samples), data.SAMPLE_RATE) for name, stages in pipelines.items()}
        if telephone:
            line = over_the_line(samples)
            heard |= {f"{name}, telephone": hear(stages, line, TELEPHONE_RATE) for name, stages in pipelines.items()}
        return heard

    return listen


@dataclass(slots=True)
class Measured:
    """One set under one condition, gathered utterance by utterance.

    Args:
        counted: errors.
        delays_ms: after how long right words are shown (`word_delay`); none where the condition has no stream.
        late_ms: emission delay: how much later they end in the captions than in the alignment.
        judged: the words of each final; none where the condition has no stream.
    """

    name: str
    condition: str
    counted: list[Counted] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    judged: list[list[Judged]] = field(default_factory=list)

    def add(self, speaker: str, reference: str, ends: Sequence[float], heard: Heard) -> None:
        """Takes one utterance.

        Args:
            speaker: who.
            reference: plain text.
            ends: seconds where its words end; empty where that is not known.
            heard: what was understood.
        """
        self.counted.append(count(speaker, reference, heard.text))
        right = pairs(reference.split(), [word.text for word in heard.words]) if heard.words else []
        if ends:
            self.delays_ms.extend(1000 * (heard.words[place].shown_s - ends[known]) for known, place in right)
            self.late_ms.extend(1000 * (heard.words[place].end_s - ends[known]) for known, place in right)
        places = {place for _, place in right}
        for _, final in groupby(enumerate(heard.words), lambda placed: placed[1].utterance):
            self.judged.append([(word.confidence, place in places) for place, word in final])

    @property
    def curve(self) -> list[Bin]:
        """Reliability of the confidences."""
        return reliability([word for final in self.judged for word in final])

    @property
    def histogram(self) -> list[tuple[int, int]]:
        """Of the delays; empty without any."""
        return histogram(self.delays_ms) if self.delays_ms else []

    def row(self) -> dict[str, Any]:
        """The figures: set, condition and `rates`; of a stream also `shown_ms`, `emission_delay_ms` and `ece`."""
        row: dict[str, Any] = {"set": self.name, "condition": self.condition} | rates(self.counted)
        if self.delays_ms:
            row["shown_ms"] = summary(self.delays_ms)
            row["emission_delay_ms"] = summary(self.late_ms)
        if self.judged:
            row["ece"] = round(expected_calibration_error(self.curve), 3)
        return row


def evaluate(
    name: str,
    utterances: Iterable[data.Utterance],
    read: Callable[[data.Utterance], data.Samples],
    listeners: Sequence[Listen],
    alignment: Alignment | None,
) -> list[Measured]:
    """Measures one set, one recording in memory at a time.

    Args:
        name: of the set.
        utterances: its utterances, with transcripts.
        read: samples of one of them.
        listeners: what is measured.
        alignment: where words end; without one there are no delays.
    """
    measured: dict[str, Measured] = {}
    for one in utterances:
        samples, reference = read(one), plain_text(one.text)
        ends = alignment.ends(reference, samples) if alignment else []
        for listen in listeners:
            for condition, heard in listen(samples).items():
                measured.setdefault(condition, Measured(name, condition)).add(one.speaker, reference, ends, heard)
    return list(measured.values())


def evenly_spread(utterances: Sequence[data.Utterance], limit: int | None) -> Sequence[data.Utterance]:
    """At most `limit` of them, at equal distances."""
    if limit is None or limit >= len(utterances):
        return utterances
    return [utterances[at * len(utterances) // limit] for at in range(limit)]
