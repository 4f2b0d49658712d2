"""What the benchmarks print and how: rungs of a ladder, their tables, word error rates."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import jiwer
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from load_tests.processes import Spent, spent
from load_tests.speakers import Heard, calls, percentile

console = Console(width=150)

WORD_PROMISE_S = 0.300
FULL_LADDER = (2, 8, 16, 24, 32, 40, 50, 60, 80, 100)


async def climb(ladder: Sequence[int], rung: Callable[[int], Awaitable[bool]]) -> int:
    """The last rung that is held before one is not; 0 where the first is not. None after that one is tried.

    Args:
        ladder: tracks of each rung, ascending.
        rung: tries so many tracks, and says whether they are held.
    """
    kept = 0
    for tracks in ladder:
        if not await rung(tracks):
            break
        kept = tracks
    return kept


async def speak(url: str, redis_url: str, tracks: int, sounds: Sequence[Sequence[bytes]]) -> tuple[list[Heard], Spent]:
    """One rung: two-sided calls at real pace, and what they cost."""
    before = spent(redis_url)
    heard = await calls(url, tracks // 2, sounds)
    return heard, spent(redis_url).since(before)


def values(heard: Sequence[Heard], name: str) -> list[float]:
    """One measure of all calls."""
    return [value for one in heard for value in getattr(one, name)]


def table(title: str, *columns: str) -> Table:
    """An empty table."""
    made = Table(title=title, title_justify="left")
    for name in columns:
        made.add_column(name)
    return made


def measures_table(title: str, measures: Mapping[str, float]) -> Table:
    """A table of rungs; ``measures`` says which percentile stands beside each median."""
    pairs = (f"{name} p50/p{round(high * 100)} ms" for name, high in measures.items())
    made = table(title, "tracks", *pairs, "CPU ms a track-second")
    for name in ("Redis ops a track-s", "refused"):
        made.add_column(name, justify="right")
    return made


def add_rung(
    to: Table,
    measures: Mapping[str, float],
    tracks: int,
    heard: Sequence[Heard],
    cost: Spent,
    seconds: float,
) -> None:
    """A rung as a row of a :func:`measures_table`."""
    track_seconds = tracks * seconds
    to.add_row(
        str(tracks),
        *(pair(values(heard, name), high, 1000) for name, high in measures.items()),
        split(cost, track_seconds),
        f"{cost.commands / track_seconds:.0f}",
        str(sum(bool(one.refused) for one in heard)),
    )


def split(cost: Spent, track_seconds: float) -> str:
    """Processor milliseconds a track-second, by process."""
    shares = sorted(cost.cpu_s.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {1000 * cpu / track_seconds:.1f}" for name, cpu in shares)


def pair(found: Sequence[float], high: float, times: float, digits: int = 0) -> str:
    """Median and a high percentile."""
    return " / ".join(f"{times * percentile(found, share):.{digits}f}" for share in (0.5, high))


def errors(speakers: Sequence[str], references: Sequence[str], said: Sequence[str]) -> str:
    """WER (95 % interval by speaker) / CER, per cent."""
    low, high = interval(speakers, references, said)
    error, characters = jiwer.wer(list(references), list(said)) * 100, jiwer.cer(list(references), list(said)) * 100
    return f"{error:.1f} ({low:.1f} to {high:.1f}) / {characters:.1f}"


def interval(speakers: Sequence[str], references: Sequence[str], said: Sequence[str]) -> tuple[float, float]:
    """95 % bootstrap interval of the WER, drawing speakers with replacement."""
    wrong: dict[str, int] = {}
    words: dict[str, int] = {}
    for speaker, reference, hypothesis in zip(speakers, references, said, strict=True):
        counts = jiwer.process_words(reference, hypothesis)
        wrong[speaker] = wrong.get(speaker, 0) + counts.substitutions + counts.deletions + counts.insertions
        words[speaker] = words.get(speaker, 0) + len(reference.split())
    names = sorted(words)
    draws = np.random.default_rng(0).integers(len(names), size=(1000, len(names)))
    rates = [
        100 * sum(wrong[names[pick]] for pick in draw) / sum(words[names[pick]] for pick in draw) for draw in draws
    ]
    return tuple(np.percentile(rates, [2.5, 97.5]).tolist())


def progress() -> Progress:
    """A bar on stderr, so that tables can go to a file."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def machine() -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    return f"{os.cpu_count()} cores ({model}), load before: {', '.join(f'{x:.1f}' for x in os.getloadavg())}, one run"
