"""The cache of the teacher pass: flat files that grow, and that a training run maps into memory.

A part is a folder of one writer process.  ``index.tsv`` has a line (utterance id, split, steps) for every
utterance whose numbers are wholly written; the arrays lie one after the other in the same order:

    sound.i16      what the teacher heard, 16 kHz, [640 T]
    levels.f16     projected levels, [T, 6, 384]
    log_probs.f16  natural log, [T, 2, 29]

6 kB a step of 40 ms: 14 GB for 26 hours.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stenoflow_trainer import data
from stenoflow_trainer.teacher import LEVELS, SYMBOLS, WIDTH, Projection, ProjectionFit, Teacher
from stenoflow_trainer.telephone import pcm16

Half = npt.NDArray[np.float16]
ARRAYS = {
    "sound.i16": (np.int16, (data.STEP,)),
    "levels.f16": (np.float16, (len(LEVELS), WIDTH)),
    "log_probs.f16": (np.float16, (2, SYMBOLS)),
}  # file: type of a number, shape of one step
SEED = 20261126
TEACHER_BATCH_S = 40.0


def padded(one: data.Utterance, shards: data.Shards) -> data.Samples:
    """The recording with the silence that the segmenter would leave; the same at every call."""
    draw = np.random.default_rng([SEED, *one.id.encode()])
    return data.pad_like_serving(shards.read(one), draw)


def fit_projection(sample: list[data.Utterance], shards: data.Shards, teacher: Teacher) -> Projection:
    """The projection of the levels from a sample of the recordings (300 are plenty)."""
    fit = ProjectionFit()
    for recordings in _batches(sample, shards):
        for (_, samples), (inner, _) in zip(recordings, teacher([sound for _, sound in recordings]), strict=True):
            fit.add(inner, data.fbank(samples))
    return fit.projection()


def _batches(
    utterances: Iterable[data.Utterance], shards: data.Shards
) -> Iterator[list[tuple[data.Utterance, data.Samples]]]:
    """The recordings in bunches of `TEACHER_BATCH_S`; too short ones are left out."""
    bunch: list[tuple[data.Utterance, data.Samples]] = []
    total = 0
    for one in utterances:
        samples = padded(one, shards)
        if len(samples) < 8 * data.STEP:  # under 0.3 s the teacher's normalisation means nothing
            continue
        bunch.append((one, samples))
        total += len(samples)
        if total >= TEACHER_BATCH_S * data.SAMPLE_RATE:
            yield bunch
            bunch, total = [], 0
    if bunch:
        yield bunch


class PartWriter:
    """Appends utterances to one part; opening it again goes on after the last whole utterance."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.done = {line.id: line.steps for line in read_index(folder)}
        total = sum(self.done.values())
        self._files = {}
        for name, (_, shape) in ARRAYS.items():
            path = folder / name
            path.touch()
            file = path.open("r+b")
            file.truncate(total * prod(shape) * 2)  # an interrupted utterance is written again
            file.seek(0, 2)
            self._files[name] = file
        self._index = (folder / "index.tsv").open("a", encoding="utf-8")

    def add(self, one: data.Utterance, sound: npt.NDArray[np.int16], levels: Half, log_probs: Half) -> None:
        """Writes one utterance; its line in the index comes last."""
        steps = len(levels)
        for file, array in zip(self._files.values(), (sound, levels, log_probs), strict=True):
            file.write(np.ascontiguousarray(array).tobytes())
            file.flush()
        self._index.write(f"{one.id}\t{one.split}\t{steps}\n")
        self._index.flush()


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One utterance of a part."""

    id: str
    split: str
    steps: int


def read_index(folder: Path) -> list[IndexLine]:
    """The utterances of a part; empty when nothing was written."""
    path = folder / "index.tsv"
    if not path.exists():
        return []
    whole = path.read_text("utf-8").rpartition("\n")[0]  # a writer may be in the middle of a line
    rows = (line.split("\t") for line in whole.splitlines())
    return [IndexLine(row[0], row[1], int(row[2])) for row in rows]


def write_part(
    folder: Path, utterances: list[data.Utterance], shards: data.Shards, teacher: Teacher, projection: Projection
) -> Iterator[float]:
    """Runs the teacher over what the part still lacks; yields the seconds of each utterance written."""
    writer = PartWriter(folder)
    yield sum(one.seconds for one in utterances if one.id in writer.done)
    missing = (one for one in utterances if one.id not in writer.done)
    for recordings in _batches(missing, shards):
        heard = teacher([samples for _, samples in recordings])
        for (one, samples), (inner, log_probs) in zip(recordings, heard, strict=True):
            writer.add(one, pcm16(samples), projection(inner), log_probs.astype(np.float16))
            yield one.seconds


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache holds of one utterance, mapped, not read: T steps.

    sound int16 [640 T], levels float16 [T, 6, 384], log_probs float16 [T, 2, 29].
    """

    id: str
    split: str
    steps: int
    sound: npt.NDArray[np.int16]
    levels: Half
    log_probs: Half


def open_cache(root: Path) -> list[Cached]:
    """Maps every part under `root`, as far as it is written."""
    found = []
    for folder in sorted(root.glob("part-*")):
        index = read_index(folder)
        total = sum(line.steps for line in index)
        if not total:
            continue
        maps: list[npt.NDArray[Any]] = [
            np.memmap(folder / name, number, "r", shape=(total, *shape)) for name, (number, shape) in ARRAYS.items()
        ]
        sound, levels, log_probs = maps
        begin = 0
        for line in index:
            rows = slice(begin, begin + line.steps)
            heard = sound[rows].reshape(-1)
            found.append(Cached(line.id, line.split, line.steps, heard, levels[rows], log_probs[rows]))
            begin += line.steps
    return found


def read_ahead(one: Cached) -> None:
    """Asks the kernel to have the utterance in memory soon; returns at once."""
    for array in (one.sound, one.levels, one.log_probs):
        mapped: mmap.mmap | None = getattr(array, "_mmap", None)
        if mapped is not None:
            begin = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
            page = begin - begin % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, begin + array.nbytes - page)
