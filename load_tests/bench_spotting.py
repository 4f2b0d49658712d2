"""Keyword spotting on a held set: hits, misses and false alarms by threshold.

    python -m load_tests.bench_spotting

Phrases are one or two words of the utterances' own texts, eight letters or more; each is listened for in all of them.
An occurrence in an utterance that holds the phrase is a hit, as often as it is said there; any other is a false alarm.
All of the pipeline but the decoder's search runs, once; thresholds are tried on the same emissions.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load_tests.held import Item, items
from load_tests.rungs import console, progress, table
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.bus.entry import Entry, MarkKind
from stenoflow.bus.records import Stages, TrackInfo
from stenoflow.runtime.emissions import frames_of
from stenoflow.runtime.in_process import InProcessCall
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text
from stenoflow_cli.stages import all_stages
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.spotting import SpotPhrases, Spotter

BUNDLE = "en-small"
SET = "held_libri"
LIMIT = 60
PHRASES = 50
LETTERS = 8
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
PIECE = 2 * SAMPLE_RATE * 160 // 1000
SEED = 7


@dataclass(frozen=True, slots=True)
class Heard:
    """An utterance's words and what the model made of its sound."""

    text: str
    seconds: float
    emissions: Sequence[Entry]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"), help="folder with the held sets")
    parser.add_argument("--limit", type=int, default=LIMIT, help="utterances")
    arguments = parser.parse_args()
    if not arguments.speech.is_dir():
        console.print(f"SKIPPED spotting: no held sets at {arguments.speech}")
        return
    stages: dict[Stages, Stage[Any]] = {
        stage: made for stage, made in all_stages(BUNDLE).items() if stage is not Stages.DECODER
    }
    model = DecodingModel.from_bundle(load_bundle(find_bundle(BUNDLE)))
    with progress() as bar:
        chosen = list(items(arguments.speech, SET, arguments.limit))[: arguments.limit]
        heard = [hear(stages, item) for item in bar.track(chosen, description="emissions")]
    phrases = phrases_of([each.text for each in heard])
    known = set(model.lexicon.words)
    hours = sum(each.seconds for each in heard) / 3600
    rows = table(
        f"Spotting: {SET}, {len(heard)} utterances, {60 * hours:.1f} minutes, {len(phrases)} phrases, "
        f"{sum(not set(phrase.split()) <= known for phrase in phrases)} of them with words that the lexicon lacks",
        *("threshold", "said", "hits", "misses", "false alarms", "an hour", "an hour and phrase"),
    )
    for threshold in THRESHOLDS:
        said, hits, alarms = counted(heard, SpotPhrases.of([(phrase, threshold) for phrase in phrases], model))
        an_hour = alarms / hours
        rows.add_row(
            *(f"{threshold:g}", str(said), str(hits), str(said - hits), str(alarms)),
            *(f"{an_hour:.0f}", f"{an_hour / len(phrases):.1f}"),
        )
    console.print(rows)


def hear(stages: Mapping[Stages, Stage[Any]], item: Item) -> Heard:
    """An utterance through the stages before the decoder."""
    call = InProcessCall(stages, [TrackInfo("one", "pcm_s16le", SAMPLE_RATE)])
    pieces = [item.pcm[at : at + PIECE] for at in range(0, len(item.pcm), PIECE)]
    emissions = [entry for n, piece in enumerate(pieces) for entry in call.feed({0: piece}, end=n == len(pieces) - 1)]
    call.close()
    return Heard(plain_text(item.text), len(item.pcm) / 2 / SAMPLE_RATE, emissions)


def phrases_of(texts: Sequence[str]) -> list[str]:
    """One or two neighbouring words of some of the texts, the same at every call."""
    found: set[str] = set()
    for text in texts:
        words = text.split()
        several = [" ".join(words[at : at + size]) for size in (1, 2) for at in range(len(words) - size + 1)]
        found.update(phrase for phrase in several if len(phrase.replace(" ", "")) >= LETTERS)
    return random.Random(SEED).sample(sorted(found), min(PHRASES, len(found)))


def counted(heard: Sequence[Heard], phrases: SpotPhrases) -> tuple[int, int, int]:
    """How often phrases were said, how often found, and how often found where they were not said."""
    said = hits = alarms = 0
    for utterance in heard:
        there = Counter({phrase: f" {utterance.text} ".count(f" {phrase} ") for phrase in phrases.names})
        found = Counter(spotted(utterance.emissions, phrases))
        said += there.total()
        hits += (there & found).total()
        alarms += (found - there).total()
    return said, hits, alarms


def spotted(emissions: Sequence[Entry], phrases: SpotPhrases) -> Iterator[str]:
    """The phrases that fire, segment by segment."""
    spotter = Spotter(phrases)
    for entry in emissions:
        if entry.spans:
            positions, frames = frames_of(entry, entry.frame_bytes // 2)
            for at, frame in zip(positions.tolist(), frames, strict=True):
                yield from (each.phrase for each in spotter.hear(frame, at, entry.hop))
        if any(mark.kind is MarkKind.SEGMENT_END for mark in entry.marks):
            yield from (each.phrase for each in spotter.finish())
            spotter = Spotter(phrases)
    yield from (each.phrase for each in spotter.finish())


if __name__ == "__main__":
    main()
