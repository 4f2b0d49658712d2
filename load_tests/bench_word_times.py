"""How far the word times of finals are from a forced alignment.

Two references: the teacher (a CTC network: a letter is a peak somewhere within its sound), and, where it is installed,
PocketSphinx, whose hidden Markov models place the edges of sounds and have nothing to do with the first pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray

from load_tests.held import Item, items
from load_tests.rungs import console, pair, progress, table
from load_tests.speakers import percentile
from load_tests.whisper_times import word_times
from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.alignment.words import timed_words
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.records import Stages
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text, plain_words
from stenoflow_second_pass.models import whisper
from stenoflow_second_pass.models.weights import missing

LETTERS = Vocabulary((" ", *"abcdefghijklmnopqrstuvwxyz", "'", ""), blank=28, separator=0)
"""The teacher's."""
HOP = SAMPLE_RATE // 50


@dataclass(frozen=True, slots=True)
class Placed:
    """A word and where it is, seconds."""

    word: str
    begin: float
    end: float


def times(speech: Path, teacher: Path, pipelines: Mapping[str, Mapping[Stages, Stage[Any]]], limit: int | None) -> None:
    """Prints the errors of begins and ends.

    Args:
        speech: folder with held_libri.
        teacher: its ONNX file.
        pipelines: all stages, by the model of the second pass.
        limit: utterances; None for all.
    """
    if not speech.is_dir() or not teacher.is_file():
        console.print(f"SKIPPED times: no held sets at {speech}, or no teacher at {teacher}")
        return
    chosen = list(items(speech, "held_libri", limit))
    aligners: dict[str, Callable[[Item], list[Placed]]] = {"teacher": forced_by_teacher(teacher)}
    if find_spec("pocketsphinx") is None:
        console.print("SKIPPED the second reference: pip install pocketsphinx==5.1.1")
    else:
        aligners["PocketSphinx"] = forced_by_sphinx()
    reader = None if missing(whisper.RUNTIME | whisper.WHEEL) else whisper.load_whisper("cpu")
    found: dict[tuple[str, str], list[tuple[Placed, Placed]]] = {}
    with progress() as bar:
        for item in bar.track(chosen, description="times"):
            heard = {f"{model}, as shipped": shipped(stages, item) for model, stages in pipelines.items()}
            if reader is not None:
                heard[f"{reader.name}, its cross-attention"] = attended(reader, item)
            placed = {reference: align(item) for reference, align in aligners.items()}
            for reference, right in placed.items():
                for name, words in {**heard, "teacher": placed["teacher"]}.items():
                    if name != reference:
                        found.setdefault((reference, name), []).extend(agreeing(right, words))
    rows = table(
        f"Word times against forced alignment of the transcript, held_libri, {len(chosen)} utterances, ms; late is "
        "positive. The first pass, whose emissions give the shipped times, learnt from the teacher",
        *("reference", "times", "words", "begin |error| p50/p95", "median", "end |error| p50/p95", "median"),
    )
    for (reference, name), pairs in found.items():
        begins = [heard.begin - right.begin for right, heard in pairs]
        ends = [heard.end - right.end for right, heard in pairs]
        cells = [
            cell
            for late in (begins, ends)
            for cell in (pair([abs(one) for one in late], 0.95, 1000), f"{1000 * percentile(late, 0.5):+.0f}")
        ]
        rows.add_row(reference, name, str(len(pairs)), *cells)
    console.print(rows)


def forced_by_teacher(teacher: Path) -> Callable[[Item], list[Placed]]:
    """Aligns with the teacher; nothing is placed where its frames are too few."""
    from stenoflow_trainer.data import STEP
    from stenoflow_trainer.teacher import QuartzNet

    listen = QuartzNet(teacher)

    def align(item: Item) -> list[Placed]:
        samples = _samples(item)
        padded = np.pad(samples, (0, -len(samples) % STEP))
        said = listen([padded])[0].log_probs
        assert said is not None, "its symbols are the student's"
        log_probs = said.reshape(-1, len(LETTERS.symbols))
        positions = np.arange(len(log_probs), dtype=np.int64) * HOP
        words = timed_words(plain_text(item.text), log_probs, positions, HOP, LETTERS)
        return [Placed(word.text, word.begin / SAMPLE_RATE, word.end / SAMPLE_RATE) for word in words]

    return align


def forced_by_sphinx() -> Callable[[Item], list[Placed]]:
    """Aligns with PocketSphinx's hidden Markov models; nothing is placed where a word is not in its dictionary."""
    decoder: Any = import_module("pocketsphinx").Decoder(lm=None, loglevel="FATAL")

    def align(item: Item) -> list[Placed]:
        text = plain_text(item.text)
        if any(decoder.lookup_word(word) is None for word in text.split()):
            return []
        decoder.set_align_text(text)
        decoder.start_utt()
        decoder.process_raw(item.pcm, full_utt=True)
        decoder.end_utt()
        return [
            Placed(segment.word.split("(")[0], segment.start_frame / 100, (segment.end_frame + 1) / 100)
            for segment in decoder.seg() or ()
            if segment.word[0] not in "<["
        ]

    return align


def shipped(stages: Mapping[Stages, Stage[Any]], item: Item) -> list[Placed]:
    """Words of the finals of the second pass."""
    finals = [said for said in transcribe(stages, [Sound("one", SAMPLE_RATE, item.pcm)]) if said["type"] == "final"]
    return [
        Placed(word["word"], word["begin"] / SAMPLE_RATE, word["end"] / SAMPLE_RATE)
        for final in finals
        for word in final["words"]
        if final["pass"] == 2
    ]


def attended(model: whisper.WhisperModel, item: Item) -> list[Placed]:
    """Words of Whisper's reading of the whole, those that are one plain word."""
    samples = _samples(item)[: whisper.FULL * 160]
    words = model.read([samples], [""])[0].text.split()
    placed = (word_times(model, samples, words) if words else None) or []
    return [
        Placed(plain[0], begin, end)
        for word, (begin, end) in zip(words, placed, strict=False)
        if len(plain := plain_words(word)) == 1
    ]


def agreeing(right: Sequence[Placed], heard: Sequence[Placed]) -> list[tuple[Placed, Placed]]:
    """The words on which both agree, in the likeliest pairing of the two sequences."""
    if not right or not heard:
        return []
    pairing = jiwer.process_words(" ".join(one.word for one in right), " ".join(one.word for one in heard))
    return [
        (right[chunk.ref_start_idx + at], heard[chunk.hyp_start_idx + at])
        for chunk in pairing.alignments[0]
        if chunk.type == "equal"
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]


def _samples(item: Item) -> NDArray[np.float32]:
    return np.frombuffer(item.pcm, "<i2").astype(np.float32) / np.float32(32768)
