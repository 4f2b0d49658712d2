"""The second pass: what it gives, what it costs, how much it carries, and beside a growing window of Whisper.

python -m load_tests.bench_second_pass wer         held sets, one process: off, and each model that is installed
python -m load_tests.bench_second_pass cost        processor time of a reading; words where nobody spoke
python -m load_tests.bench_second_pass capacity    tracks of the whole stack with it
python -m load_tests.bench_second_pass growing     beside Whisper decoded again and again, on the same calls
python -m load_tests.bench_second_pass times       word times against a forced alignment
python -m load_tests.bench_second_pass phrases     names that the session expects, as Whisper's prompt
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from load_tests.bench_growing import growing
from load_tests.bench_word_times import times
from load_tests.conversations import known_clips
from load_tests.held import SETS, items
from load_tests.no_words import SOUNDS, wordless
from load_tests.outcomes import outcomes, told
from load_tests.phrases import phrases
from load_tests.rungs import console, errors, machine, pair, progress, table
from load_tests.second_pass_capacity import capacity
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.records import Stages
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text, plain_words
from stenoflow_cli.stages import all_stages
from stenoflow_cli.up import OFF
from stenoflow_second_pass import __main__ as second_pass
from stenoflow_second_pass.guard import refusal
from stenoflow_second_pass.models.choice import DEFAULTS, installed_model, load_model
from stenoflow_second_pass.models.weights import missing
from stenoflow_second_pass.settings import SecondPassSettings

PARTS = ("wer", "cost", "capacity", "growing", "times", "phrases")
PROMPTED = "whisper-tiny.en"
"""The model that takes phrases."""
BUNDLE = "en-small"
SPEECH = Path("../shared/speech")
TEACHER = "teacher/quartznet15x5_en.onnx"
RUNG_S = 60.0
WORDLESS_S = 120.0
COST_CLIPS = 100
TIMED = 100
"""Utterances of a held set, where not all are taken."""

Pipeline = Mapping[Stages, Stage[Any]]


def with_second_pass(stages: Pipeline, model: str) -> tuple[Pipeline, CollectorRegistry]:
    """All stages and the registry that counts the second pass's outcomes."""
    registry = CollectorRegistry()
    if model == OFF:
        return stages, registry
    stage = second_pass.compose(SecondPassSettings(model=model, bundle=BUNDLE, device="cpu"), registry).stage
    return {**stages, Stages.SECOND_PASS: stage}, registry


def finals_of(stages: Pipeline, pcm: bytes) -> list[dict[str, Any]]:
    """The finals with words of one track that is the whole call."""
    said = transcribe(stages, [Sound("one", SAMPLE_RATE, pcm)])
    return [each for each in said if each["type"] == "final" and each["text"]]


def wer(speech: Path, models: Sequence[str], limit: int | None) -> None:
    """Word error rates of finals on the held sets, in one process."""
    if not speech.is_dir():
        console.print(f"SKIPPED wer: no held sets at {speech}")
        return
    rows = table(
        "WER / CER % of finals in one process, 160 ms chunks, plain words (95 % interval by speaker)",
        *("set", "utterances", "second pass", "WER / CER", "finals from it", "refused or unheard", "audio s per s"),
    )
    first = all_stages(BUNDLE)
    pipelines = {model: with_second_pass(first, model) for model in (OFF, *models)}
    with progress() as bar:
        for name in SETS:
            chosen = list(items(speech, name, limit))
            references = [plain_text(item.text) for item in chosen]
            for model, (stages, registry) in pipelines.items():
                before, began = outcomes(registry), time.monotonic()
                finals = [finals_of(stages, item.pcm) for item in bar.track(chosen, description=f"{name}, {model}")]
                speed = sum(len(item.pcm) for item in chosen) / 2 / SAMPLE_RATE / (time.monotonic() - began)
                passes = [final["pass"] for each in finals for final in each]
                said = [plain_text(" ".join(final["text"] for final in each)) for each in finals]
                rows.add_row(
                    name if model == OFF else "",
                    str(len(chosen)) if model == OFF else "",
                    model,
                    errors([item.speaker for item in chosen], references, said),
                    "" if model == OFF else f"{100 * passes.count(2) / max(1, len(passes)):.1f} % of {len(passes)}",
                    told(outcomes(registry) - before),
                    f"{speed:.0f}",
                )
    console.print(rows)


def cost(speech: Path, models: Sequence[str], limit: int | None, wordless_s: float) -> None:
    """Processor time of a reading, and words where there are none."""
    source, clips = known_clips(speech)
    chosen = clips[:: max(1, len(clips) // (limit or COST_CLIPS))]
    rows = table(
        f"One reading on one core: {len(chosen)} utterances of {source} (at most 15 s)",
        *("model", "processor ms p50/p95", "ms an audio second", "median s", "refused"),
    )
    for model in models:
        reader = load_model(model, "cpu")
        spent, refused = [], Counter[str]()
        reader.read([np.zeros(SAMPLE_RATE, np.float32)], [""])
        with progress() as bar:
            for clip in bar.track(chosen, description=f"cost, {model}"):
                samples = np.frombuffer(clip.pcm, "<i2").astype(np.float32) / np.float32(32768)
                began = time.process_time()
                reading = reader.read([samples], [""])[0]
                spent.append(time.process_time() - began)
                # The draft is what was said: a short answer is then no stock phrase.
                if reason := refusal(reading, clip.text, len(samples) / SAMPLE_RATE):
                    refused[reason.value] += 1
        lengths = [len(clip.pcm) / 2 / SAMPLE_RATE for clip in chosen]
        share = f"{100 * refused.total() / len(chosen):.1f} % {dict(refused) or ''}"
        rows.add_row(
            model,
            pair(spent, 0.95, 1000),
            f"{1000 * sum(spent) / sum(lengths):.1f}",
            f"{np.median(lengths):.1f}",
            share,
        )
    console.print(rows)
    _words_of_nobody(models, wordless_s)


def _words_of_nobody(models: Sequence[str], seconds: float) -> None:
    rows = table(
        f"Words in finals where nobody speaks, {seconds:.0f} s of each sound, through all stages (must be 0)",
        *("sound", *(f"{model}: first pass / second" for model in models), "outcomes"),
    )
    first = all_stages(BUNDLE)
    pipelines = [with_second_pass(first, model) for model in models]
    total = 0
    with progress() as bar:
        for name, pcm in bar.track(wordless(seconds), total=SOUNDS, description="no words"):
            cells, counted = [], Counter[str]()
            for stages, registry in pipelines:
                before = outcomes(registry)
                finals = finals_of(stages, pcm)
                words = Counter({1: 0, 2: 0})
                for final in finals:
                    words[final["pass"]] += len(plain_words(final["text"]))
                total += words.total()
                cells.append(f"{words[1]} / {words[2]}")
                counted += outcomes(registry) - before
            rows.add_row(name, *cells, ", ".join(f"{what} {count}" for what, count in counted.items()))
    console.print(rows)
    console.print(f"words in {SOUNDS * seconds / 60:.0f} minutes a model: [bold]{total}[/] (must be 0)")


def run(parts: Sequence[str], speech: Path, model: str | None, limit: int | None, seconds: float | None) -> None:
    """Runs parts of the benchmark; their defaults where nothing is given.

    Args:
        parts: some of ``PARTS``.
        speech: folder with the held sets.
        model: the only one that is measured; None for each that is installed, or the best where one is needed.
        limit: utterances of a set, or rungs of a ladder.
        seconds: length of a rung, and of each sound without words.
    """
    installed = [name for name, packages in DEFAULTS.items() if not missing(packages)]
    models = [model] if model else installed
    best = model or installed_model()
    if best is None:
        console.print("SKIPPED second pass: no model is installed")
        return
    if "wer" in parts:
        wer(speech, models, limit)
    if "cost" in parts:
        cost(speech, models, limit, seconds or WORDLESS_S)
    if "capacity" in parts:
        asyncio.run(capacity(best, limit, seconds or RUNG_S))
    if "growing" in parts:
        asyncio.run(growing(speech, best, limit, seconds or RUNG_S))
    if "times" in parts:
        first = all_stages(BUNDLE)
        pipelines = {each: with_second_pass(first, each)[0] for each in models}
        times(speech, speech.parent / TEACHER, pipelines, limit or TIMED)
    if "phrases" in parts and PROMPTED in models:
        phrases(speech, PROMPTED, limit or TIMED)


def main() -> None:
    """Runs what was asked for; all of it by default."""
    parser = argparse.ArgumentParser(
        "bench_second_pass", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--model", help="of the second pass (default: each that is installed, or the best)")
    parser.add_argument("--speech", type=Path, default=SPEECH, help=f"folder with the held sets (default: {SPEECH})")
    parser.add_argument("--limit", type=int, help="utterances of a set, rungs of a ladder, for a quick look")
    parser.add_argument("--seconds", type=float, help="length of a rung (default: 60) and of a wordless sound (120)")
    options = parser.parse_args()
    if unknown := set(options.what) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    console.print(f"[dim]{machine()}[/]")
    run(options.what or PARTS, options.speech, options.model, options.limit, options.seconds)


if __name__ == "__main__":
    main()
