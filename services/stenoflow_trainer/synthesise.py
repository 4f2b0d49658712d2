"""Sentences of a call centre's kind, spoken by voices that need no network: more of what recordings lack.

The same voice played at another rate, its speed made up for, is another speaker: pitch and formants move together, as
they do with the length of a vocal tract. Numbers of a sentence, voice, speed and size are drawn by its place in the
list alone, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.data import SAMPLE_RATE, Samples
from stenoflow_trainer.voices import Voice

SIZES: Final = (0.84, 0.90, 0.96, 1.02, 1.08, 1.14, 1.20)
"""How much higher pitch and formants are than the voice's own: so many speakers a voice."""
SPEEDS: Final = (0.85, 1.2)
WORDS: Final = (3, 25)
SHORTEST_S: Final = 0.4
PEAK: Final = 0.5
COLUMNS: Final = ("path", "speaker", "seconds", "text")
MANIFEST: Final = "synthesised.tsv"
A_FOLDER: Final = 1000


def sentences(lines: Iterable[str], seed: int) -> list[str]:
    """Different lines of a length that is said in one breath, in an order of their own.

    Raises:
        ConfigError: there is none.
    """
    chosen = [line for line in dict.fromkeys(lines) if WORDS[0] <= len(line.split()) <= WORDS[1]]
    if not chosen:
        raise ConfigError("text_short", f"no line of the text has {WORDS[0]} to {WORDS[1]} words")
    random.Random(seed).shuffle(chosen)
    return chosen


def speak(voice: Voice, text: str, speed: float, size: float) -> Samples:
    """16 kHz samples [N] of a sentence.

    Args:
        voice: says it.
        text: normalised.
        speed: times as fast as the voice speaks by itself.
        size: times as high as the voice is, pitch and formants.
    """
    said = voice.say(text, speed / size)
    samples: Samples = soxr.resample(said, voice.rate * size, SAMPLE_RATE).astype(np.float32)
    loudest = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(PEAK / max(loudest, 1e-3))


def synthesise(
    texts: Sequence[str], voices: dict[str, Voice], hours: float, out: Path, seed: int
) -> Iterator[tuple[int, float]]:
    """Speaks `texts`, again from the first where they do not last, until `out` holds so many hours.

    ``out`` gets FLAC files and ``synthesised.tsv`` (path, speaker, seconds, text), a list of recordings as
    `data.read_own_manifest` reads it.

    Yields:
        (recordings, seconds) in the list so far; first of what was there already.

    Raises:
        ConfigError: none of the sentences becomes a sound.
    """
    out.mkdir(parents=True, exist_ok=True)
    number, count, seconds = _found(out / MANIFEST)
    yield count, seconds
    names, silent = sorted(voices), 0
    with (out / MANIFEST).open("a", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        if not lines.tell():
            table.writerow(COLUMNS)
        while seconds < 3600 * hours:
            draw = random.Random(f"{seed} {number}")
            name, size, speed = draw.choice(names), draw.choice(SIZES), draw.uniform(*SPEEDS)
            text = texts[number % len(texts)]
            samples = speak(voices[name], text, speed, size)
            length = len(samples) / SAMPLE_RATE
            file = Path(f"{number // A_FOLDER:03d}") / f"{number:06d}.flac"
            number += 1
            if length < SHORTEST_S:
                silent += 1
                if silent > len(texts):
                    raise ConfigError("voice_silent", "the voices say nothing of what is in the text")
                continue
            (out / file.parent).mkdir(exist_ok=True)
            soundfile.write(out / file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            speaker = f"{name.replace(':', '.')}.{round(100 * size)}"
            table.writerow([file.as_posix(), speaker, f"{length:.2f}", text])
            lines.flush()  # a line is there only when its file is
            count, seconds = count + 1, seconds + length
            yield count, seconds


def _found(manifest: Path) -> tuple[int, int, float]:
    """(number of the next sentence, recordings, seconds) of a list that is there already."""
    if not manifest.exists():
        return 0, 0, 0.0
    with manifest.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows:
        return 0, 0, 0.0
    return int(Path(rows[-1]["path"]).stem) + 1, len(rows), sum(float(row["seconds"]) for row in rows)
