"""Two-sided calls whose words are known, for systems whose captions are compared."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from load_tests.held import items
from load_tests.speakers import CLIPS, Shown, clip_sound
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.text.plain import plain_text

QUIET_DB = -50.0
"""Level of full scale below which 20 ms are no speech."""
FRAME = SAMPLE_RATE // 50
TAIL_S = 2.0
"""Silence at the end of each side: what was said last has time to come out."""
LONGEST_S = 15.0
"""Longer utterances are left out, so that short calls have several turns."""


@dataclass(frozen=True, slots=True)
class Clip:
    """An utterance: 16 kHz 16-bit PCM, and what is said, plain."""

    pcm: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """When speech begins and ends, seconds, and what is said."""

    begin: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Side:
    """One track of a call."""

    pcm: bytes
    turns: tuple[Turn, ...]

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(turn.text for turn in self.turns)


def known_clips(speech: Path) -> tuple[str, list[Clip]]:
    """Whose they are, and they: held_libri where it is, else the repository's own."""
    if speech.is_dir():
        found = [Clip(each.pcm, plain_text(each.text)) for each in items(speech, "held_libri")]
        return "held_libri", [clip for clip in found if len(clip.pcm) <= LONGEST_S * 2 * SAMPLE_RATE]
    return "tests/clips", own_clips()


def own_clips() -> list[Clip]:
    """The repository's own but for AN4's spelled letters."""
    with (CLIPS / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    chosen = [row for row in rows if row["set"] != "held_an4"]
    return [Clip(clip_sound(CLIPS / row["file"]), plain_text(row["text"])) for row in chosen]


def placed(clips: Sequence[Clip], seed: int, seconds: float) -> Iterator[tuple[int, int, Clip]]:
    """Side, first sample (16 kHz) and clip of each turn of two that take turns; another order for each seed."""
    order = random.Random(seed)
    speaker, at = seed % 2, SAMPLE_RATE // 2
    end = round(seconds * SAMPLE_RATE) - round(TAIL_S * SAMPLE_RATE)
    while fitting := [clip for clip in clips if at + len(clip.pcm) // 2 <= end]:
        clip = order.choice(fitting)
        yield speaker, at, clip
        at += len(clip.pcm) // 2 + order.randrange(SAMPLE_RATE // 10, SAMPLE_RATE // 2)
        speaker = 1 - speaker


def conversation(clips: Sequence[Clip], seed: int, seconds: float) -> tuple[Side, Side]:
    """Two sides that take turns with whole clips only."""
    size = round(seconds * SAMPLE_RATE)
    sounds = [np.zeros(size, "<i2"), np.zeros(size, "<i2")]
    turns: tuple[list[Turn], list[Turn]] = ([], [])
    for speaker, at, clip in placed(clips, seed, seconds):
        samples = np.frombuffer(clip.pcm, "<i2")
        sounds[speaker][at : at + len(samples)] = samples
        begin, stop = (at + one for one in bounds(samples))
        turns[speaker].append(Turn(begin / SAMPLE_RATE, stop / SAMPLE_RATE, clip.text))
    first, second = (Side(sound.tobytes(), tuple(said)) for sound, said in zip(sounds, turns, strict=True))
    return first, second


def loud(samples: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Which frames of 20 ms may be speech, by their level alone."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64) / 32768
    return np.asarray(np.square(frames).mean(axis=1) > 10 ** (QUIET_DB / 10))


def bounds(samples: NDArray[np.int16]) -> tuple[int, int]:
    """The samples where the level first and last says speech; all of it where it never does."""
    frames = np.flatnonzero(loud(samples))
    return (int(frames[0]) * FRAME, (int(frames[-1]) + 1) * FRAME) if len(frames) else (0, len(samples))


def while_speaking(turns: Sequence[Turn], found: Sequence[tuple[float, float]]) -> list[float]:
    """Values of positions, seconds, that lie in a turn."""
    return [value for at, value in found if any(turn.begin <= at <= turn.end for turn in turns)]


def first_texts(turns: Sequence[Turn], history: Sequence[Shown]) -> list[float]:
    """How long after the begin of each turn its first word is shown, seconds; a turn that never is, is left out.

    Args:
        turns: of a track.
        history: how what is shown of it changed, in order.
    """
    found = []
    for number, turn in enumerate(turns):
        until = turns[number + 1].begin if number + 1 < len(turns) else float("inf")
        news = [shown.at for shown in history if turn.begin < shown.heard_to <= until and shown.more > 0]
        if news:
            found.append(news[0] - turn.begin)
    return found
