"""What a bundle's acoustic model says of a set: the file that the decoder's benchmarks read.

    python -m load_tests.emissions held_libri --limit 35 --out build/held_libri.npz
    python -m load_tests.emissions dev --out build/dev.npz

Whole utterances through the step graph. An archive holds, per clip, an array float16 (U, V) of natural-log
probabilities under the clip's name, and under ``texts`` an array of ``name<TAB>reference`` lines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from load_tests.held import SETS, items
from load_tests.rungs import console, progress
from stenoflow.bundle.loading import find_bundle
from stenoflow.text.plain import plain_text
from stenoflow_trainer import data
from stenoflow_trainer.__main__ import EXPERIMENT
from stenoflow_trainer.evaluate import Acoustic
from stenoflow_trainer.train import dev_utterances, load_settings

DEV = "dev"
FRAME_S = 0.02
SPEECH = Path("../shared/speech")

Frames = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clip:
    """Emissions and what was said."""

    name: str
    frames: Frames
    reference: str


def read_clips(path: Path) -> list[Clip]:
    """The clips of an archive."""
    with np.load(path) as archive:
        lines = [str(line).split("\t", 1) for line in archive["texts"]]
        return [Clip(name, archive[name].astype(np.float32), reference) for name, reference in lines]


def write_clips(path: Path, clips: list[Clip]) -> None:
    """An archive that :func:`read_clips` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = {clip.name: clip.frames.astype(np.float16) for clip in clips}
    texts = np.array([f"{clip.name}\t{clip.reference}" for clip in clips])
    np.savez(path, allow_pickle=False, texts=texts, **frames)


def recordings(speech: Path, name: str, limit: int | None) -> Iterator[tuple[str, str, data.Samples]]:
    """Name, text and samples of a set's utterances.

    Args:
        speech: folder of the data.
        name: a held set, or ``dev``.
        limit: so many, evenly spread.
    """
    if name != DEV:
        for item in items(speech, name, limit):
            yield item.id, item.text, np.frombuffer(item.pcm, "<i2").astype(np.float32) / np.float32(32768)
        return
    shards, chosen = data.Shards(speech), dev_utterances(speech, load_settings(EXPERIMENT))
    for one in chosen[:: max(1, len(chosen) // limit) if limit else 1]:
        yield one.id, one.text, shards.read(one)


def main() -> None:
    """Writes an archive."""
    parser = argparse.ArgumentParser(
        "emissions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=(DEV, *SETS))
    parser.add_argument("--bundle", default="en-small")
    parser.add_argument("--speech", type=Path, default=SPEECH, help=f"folder of the data (default: {SPEECH})")
    parser.add_argument("--limit", type=int, help="utterances (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    acoustic = Acoustic(find_bundle(options.bundle))
    with progress() as bar:
        chosen = list(recordings(options.speech, options.set, options.limit))
        clips = [
            Clip(name, acoustic.whole(data.fbank(samples)), plain_text(text))
            for name, text, samples in bar.track(chosen, description=options.set)
        ]
    write_clips(options.out, clips)
    sound_s = sum(len(clip.frames) for clip in clips) * FRAME_S
    console.print(f"● {options.out}: {len(clips)} utterances, {sound_s:.0f} s")


if __name__ == "__main__":
    main()
