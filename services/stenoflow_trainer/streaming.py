"""A recording through the real pipeline in this process, chunk by chunk: what a caller reads, and from when on.

Segmenter, step graph, beam search and endpoints as the workers run them; no bus, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Kind
from stenoflow.bus.records import Stages, TrackInfo
from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import InProcessCall
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text, plain_words
from stenoflow.text.shown import first_shown

Pipeline = Mapping[Stages, Stage[Any]]

CHUNK_MS = 160
SILENCE_MS = 960
"""Fed after a recording, as a call goes on: otherwise its end would flush the last words out and make them look prompt.
Longer than what ends an utterance."""


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A plain word of a final; seconds of the sound.

    Args:
        text: the word.
        confidence: in [0, 1].
        end_s: where it ends, as the final says.
        shown_s: how much had been fed when it was shown for good.
        utterance: number of its final.
    """

    text: str
    confidence: float
    end_s: float
    shown_s: float
    utterance: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """What was understood of one recording.

    Args:
        text: plain.
        words: those of the finals; none where only the text is known (whole utterances).
    """

    text: str
    words: tuple[HeardWord, ...] = ()


def first_pass(bundle: Path) -> Pipeline:
    """The stages of a bundle, composed as by their workers."""
    # Imported here: greedy figures need none of these.
    from stenoflow_acoustic import __main__ as acoustic
    from stenoflow_acoustic.settings import AcousticSettings
    from stenoflow_decoder import __main__ as decoder
    from stenoflow_decoder.settings import DecoderSettings
    from stenoflow_features import __main__ as features
    from stenoflow_features.settings import FeaturesSettings

    registry, name = CollectorRegistry(), str(bundle)
    return {
        Stages.FEATURES: features.compose(FeaturesSettings(), registry).stage,
        Stages.ACOUSTIC: acoustic.compose(AcousticSettings(bundle=name), registry).stage,
        Stages.DECODER: decoder.compose(DecoderSettings(bundle=name), registry).stage,
    }


def with_second_pass(pipeline: Pipeline, bundle: Path, model: str) -> Pipeline:
    """The same stages, and a model that hears every utterance again.

    Raises:
        ConfigError: its packages are missing.
    """
    from stenoflow_second_pass import __main__ as again
    from stenoflow_second_pass.settings import SecondPassSettings

    settings = SecondPassSettings(model=model, bundle=str(bundle))
    return {**pipeline, Stages.SECOND_PASS: again.compose(settings, CollectorRegistry()).stage}


def hear(pipeline: Pipeline, pcm: npt.NDArray[np.int16], sample_rate: int) -> Heard:
    """Feeds a recording and the silence after it.

    Args:
        pipeline: its stages.
        pcm: int16 [N].
        sample_rate: Hz, one that clients may send.
    """
    chunk = sample_rate * CHUNK_MS // 1000
    whole = np.pad(pcm, (0, sample_rate * SILENCE_MS // 1000))
    call = InProcessCall(pipeline, [TrackInfo("one", "pcm_s16le", sample_rate)])
    captions: dict[int, list[tuple[float, list[str]]]] = {}  # of open utterances
    texts: list[str] = []
    words: list[HeardWord] = []
    try:
        for begin in range(0, len(whole), chunk):
            end = min(begin + chunk, len(whole))
            for entry in call.feed({0: whole[begin:end].astype("<i2").tobytes()}, end=end == len(whole)):
                if entry.kind not in (Kind.LIVE, Kind.FINAL) or not entry.data:
                    continue
                said = wire.parse_server(entry.data)
                captions.setdefault(said.utterance, []).append((end / sample_rate, plain_words(said.text)))
                if isinstance(said, wire.Final):
                    texts.append(said.text)
                    words.extend(_words(said, captions.pop(said.utterance)))
    finally:
        call.close()
    return Heard(plain_text(" ".join(texts)), tuple(words))


def _words(final: wire.Final, history: list[tuple[float, list[str]]]) -> list[HeardWord]:
    shown = first_shown(history, [word.word for word in final.words])
    return [
        HeardWord(word.word, word.confidence, word.end / SAMPLE_RATE, at, final.utterance)
        for word, at in zip(final.words, shown, strict=True)
    ]
