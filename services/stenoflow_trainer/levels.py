"""The cache of the teacher pass: flat files that grow, and that a training run maps into memory.

A part is a folder of one writer process.  ``index.tsv`` has a line (utterance id, split, steps) for every
utterance whose numbers are wholly written; the arrays lie one after the other in the same order:

    sound.i16      what the teacher heard, 16 kHz, [640 T]
    levels.f16     projected levels, [T, 6, 384]
    log_probs.f16  natural log, [T, 2, 29]

6 kB a step of 40 ms: 14 GB for 26 hours. A teacher of which only emissions are known leaves no levels, one with other
symbols than the student's neither of the two. A fourth column of the index is the text of the recording: by people, or
what a teacher understood.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
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
SOUND, LEVEL_FILE, EMISSION_FILE = ARRAYS
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
        sounds = [samples for _, samples in recordings]
        said = [one.levels or [] for one in teacher(sounds)] if teacher.gives_levels else [[] for _ in sounds]
        for samples, levels in zip(sounds, said, strict=True):
            fit.add(levels, data.fbank(samples))
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


def files_of(teacher: Teacher) -> list[str]:
    """The arrays that a pass of this teacher writes."""
    asked = {LEVEL_FILE: teacher.gives_levels, EMISSION_FILE: teacher.gives_emissions}
    return [name for name in ARRAYS if asked.get(name, True)]


class PartWriter:
    """Appends utterances to one part; opening it again goes on after the last whole utterance.

    Args:
        folder: of the part.
        names: the arrays it has; of those in ``ARRAYS``.
    """

    def __init__(self, folder: Path, names: Sequence[str] = tuple(ARRAYS)) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        lines = read_index(folder)
        self.done = {line.id: line.steps for line in lines}
        total = sum(line.steps for line in lines)  # an id may be there twice: two copies at one speed
        self._files = {}
        for name in names:
            _, shape = ARRAYS[name]
            path = folder / name
            path.touch()
            file = path.open("r+b")
            file.truncate(total * prod(shape) * 2)  # an interrupted utterance is written again
            file.seek(0, 2)
            self._files[name] = file
        index = folder / "index.tsv"
        index.touch()
        os.truncate(index, index.read_bytes().rfind(b"\n") + 1)  # the line too that broke off
        self._index = index.open("a", encoding="utf-8")

    def add(
        self,
        one: data.Utterance,
        sound: npt.NDArray[np.int16],
        levels: Half | None,
        log_probs: Half | None,
        text: str = "",
    ) -> None:
        """Writes one utterance; its line in the index comes last."""
        arrays = {SOUND: sound, LEVEL_FILE: levels, EMISSION_FILE: log_probs}
        for name, file in self._files.items():
            file.write(np.ascontiguousarray(arrays[name]).tobytes())
            file.flush()
        steps = sound.size // data.STEP
        self._index.write("\t".join([one.id, one.split, str(steps), *([text] if text else [])]) + "\n")
        self._index.flush()


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One utterance of a part."""

    id: str
    split: str
    steps: int
    text: str


def read_index(folder: Path) -> list[IndexLine]:
    """The utterances of a part; empty when nothing was written."""
    path = folder / "index.tsv"
    if not path.exists():
        return []
    whole = path.read_text("utf-8").rpartition("\n")[0]  # a writer may be in the middle of a line
    rows = (line.split("\t") for line in whole.splitlines())
    return [IndexLine(row[0], row[1], int(row[2]), row[3] if len(row) > 3 else "") for row in rows]


def write_part(
    folder: Path, utterances: list[data.Utterance], shards: data.Shards, teacher: Teacher, projection: Projection
) -> Iterator[float]:
    """Runs the teacher over what the part still lacks; yields the seconds of each utterance written."""
    writer = PartWriter(folder, files_of(teacher))
    yield sum(one.seconds for one in utterances if one.id in writer.done)
    missing = (one for one in utterances if one.id not in writer.done)
    for recordings in _batches(missing, shards):
        heard = teacher([samples for _, samples in recordings])
        for (one, samples), said in zip(recordings, heard, strict=True):
            levels = None if said.levels is None else projection(said.levels)
            log_probs = None if said.log_probs is None else said.log_probs.astype(np.float16)
            text = one.text if one.label == "human" else said.text
            writer.add(one, pcm16(samples), levels, log_probs, text)
            yield one.seconds


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache holds of one utterance, mapped, not read: T steps.

    sound int16 [640 T], levels float16 [T, 6, 384] or None, log_probs float16 [T, 2, 29] or None; text: of the index.
    """

    id: str
    split: str
    steps: int
    sound: npt.NDArray[np.int16]
    levels: Half | None
    log_probs: Half | None
    text: str = ""


def open_cache(root: Path) -> list[Cached]:
    """Maps every part under `root`, as far as it is written."""
    found = []
    for folder in sorted(root.glob("part-*")):
        index = read_index(folder)
        total = sum(line.steps for line in index)
        if not total:
            continue
        maps: dict[str, npt.NDArray[Any]] = {
            name: np.memmap(folder / name, number, "r", shape=(total, *shape))
            for name, (number, shape) in ARRAYS.items()
            if (folder / name).exists()
        }
        begin = 0
        for line in index:
            rows = slice(begin, begin + line.steps)
            heard = maps[SOUND][rows].reshape(-1)
            levels, log_probs = (maps[name][rows] if name in maps else None for name in (LEVEL_FILE, EMISSION_FILE))
            found.append(Cached(line.id, line.split, line.steps, heard, levels, log_probs, line.text))
            begin += line.steps
    return found


def read_ahead(one: Cached) -> None:
    """Asks the kernel to have the utterance in memory soon; returns at once."""
    for array in (one.sound, one.levels, one.log_probs):
        if array is None:
            continue
        mapped: mmap.mmap | None = getattr(array, "_mmap", None)
        if mapped is not None:
            begin = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
            page = begin - begin % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, begin + array.nbytes - page)
