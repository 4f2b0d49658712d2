"""The acoustic model by engine and precision: how long a step takes by batch size, and what precision costs in words.

    python -m load_tests.bench_acoustic steps       160 ms of so many tracks: ONNX Runtime, torch eager, CUDA graphs
    python -m load_tests.bench_acoustic wer         a held set with the n-gram, float32 beside bf16 and fp16

Where torch sees no GPU the columns of the processor stand alone, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prometheus_client import CollectorRegistry

from load_tests.held import SETS, items
from load_tests.rungs import console, errors, machine, progress, table
from stenoflow.bundle.card import StatefulCard
from stenoflow.bundle.loading import Bundle, find_bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.runtime.stage import Stage
from stenoflow_acoustic import __main__ as acoustic
from stenoflow_acoustic.capacity import CHUNK_MS
from stenoflow_acoustic.engine import Engine, Precision, TorchOptions
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_acoustic.torch_engine import TorchEngine
from stenoflow_cli.stages import all_stages

BUNDLE = "en-small"
RUNS = 15
"""Timed runs of each batch; their median counts."""

WARM = 3
LARGEST = {"cpu": 32, "cuda": 1024}
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16", "fp16")


def engines(bundle: Bundle, largest: int, gpu: bool) -> Iterator[tuple[str, Engine]]:
    """What is timed, by column, one at a time."""
    yield "ONNX Runtime, CPU", OnnxEngine(bundle, device="cpu", slots=LARGEST["cpu"])
    for precision in PRECISIONS:
        on_cpu = TorchOptions(precision, min(largest, LARGEST["cpu"]))
        yield f"torch, CPU, {precision}", TorchEngine(bundle, device="cpu", slots=LARGEST["cpu"], options=on_cpu)
    for precision in PRECISIONS if gpu else ():
        for graphs in (False, True):
            options = TorchOptions(precision, largest, graphs)
            name = f"GPU, {precision}, {'graphs' if graphs else 'eager'}"
            yield name, TorchEngine(bundle, device="cuda", slots=largest, options=options)


def steps(bundle: Bundle, largest: int | None) -> None:
    """Milliseconds of 160 ms of sound by batch size."""
    gpu = torch.cuda.is_available()
    if not gpu:
        console.print("no GPU: torch sees none, so only the processor's columns are measured")
    largest = largest or LARGEST["cuda" if gpu else "cpu"]
    columns: dict[str, dict[int, float]] = {}
    for name, engine in engines(bundle, largest, gpu):
        engine.warm_up()
        columns[name] = {size: step_ms(bundle, engine, size) for size in engine.batch_buckets if size <= largest}
    rows = table(f"Milliseconds for {CHUNK_MS} ms of so many tracks, {bundle}", "tracks", *columns)
    for size in sorted({size for column in columns.values() for size in column}):
        cells = (column.get(size) for column in columns.values())
        rows.add_row(str(size), *("" if ms is None else f"{ms:.2f}" for ms in cells))
    console.print(rows)


def step_ms(bundle: Bundle, engine: Engine, tracks: int) -> float:
    """Median of some runs, from features to log-probabilities in this process."""
    card = bundle.card.acoustic
    assert isinstance(card, StatefulCard), "a windowed bundle has no steps"
    hop_ms = bundle.card.features.hop_ms
    frames = CHUNK_MS // hop_ms // card.step_frames * card.step_frames + card.heard_frames - card.step_frames
    slots = [engine.allocate() for _ in range(tracks)]
    engine.reset(slots)
    quiet = np.array(bundle.card.features.flush_frame, np.float32)
    features = quiet + np.random.default_rng(0).standard_normal((tracks, frames, len(quiet))).astype(np.float32)
    took: list[float] = []
    for _ in range(WARM + RUNS):
        begin = time.perf_counter()
        engine.run(np.array(slots, np.intp), features)
        took.append(1000 * (time.perf_counter() - begin))
    for slot in slots:
        engine.free(slot)
    return statistics.median(took[WARM:])


def wer(speech: Path, name: str, limit: int | None, precisions: Sequence[Precision]) -> None:
    """Word error rates of a held set by precision, on a GPU where there is one."""
    if not speech.is_dir():
        console.print(f"SKIPPED wer: no held sets at {speech}")
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        console.print("no GPU: torch sees none, so the same products run on the processor")
    stages: dict[Stages, Stage[Any]] = dict(all_stages(BUNDLE))
    served = {"int8, ONNX Runtime": stages[Stages.ACOUSTIC]}
    for precision in precisions:
        settings = AcousticSettings(bundle=BUNDLE, engine="torch", device=device, precision=precision, largest_batch=16)
        served[f"{precision}, torch on {device}"] = acoustic.compose(settings, CollectorRegistry()).stage
    chosen = list(items(speech, name, limit))[:limit]
    said: dict[str, list[str]] = {}
    with progress() as bar:
        for served_as, stage in served.items():
            stages[Stages.ACOUSTIC] = stage
            said[served_as] = [text_of(stages, item.pcm) for item in bar.track(chosen, description=served_as)]
    rows = table(
        f"WER / CER %, {name}, {len(chosen)} utterances, one pass with the n-gram (95 % interval by speaker)",
        *("acoustic model", "errors", f"texts that differ from {next(iter(said))}"),
    )
    who, right = [item.speaker for item in chosen], [item.text for item in chosen]
    first = next(iter(said.values()))
    for served_as, texts in said.items():
        differ = sum(one != other for one, other in zip(first, texts, strict=True))
        rows.add_row(served_as, errors(who, right, texts), str(differ))
    console.print(rows)


def text_of(stages: dict[Stages, Stage[Any]], pcm: bytes) -> str:
    """What the pipeline says of an utterance."""
    said = transcribe(stages, [Sound("one", 16_000, pcm)])
    return " ".join(each["text"] for each in said if each["type"] == "final" and each["text"])


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["steps", "wer"], default=["steps", "wer"])
    parser.add_argument("--largest", type=int, help="largest batch (default: 32 on a processor, 1024 on a GPU)")
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"), help="folder with the held sets")
    parser.add_argument("--set", choices=SETS, default=SETS[0], help="held set")
    parser.add_argument("--limit", type=int, help="utterances")
    parser.add_argument("--precision", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    options = parser.parse_args()
    console.print(f"[dim]{machine()}[/]")
    if "steps" in options.what:
        steps(load_bundle(find_bundle(BUNDLE)), options.largest)
    if "wer" in options.what:
        wer(options.speech, options.set, options.limit, options.precision)


if __name__ == "__main__":
    main()
