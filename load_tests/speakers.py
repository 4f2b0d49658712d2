"""Two-sided calls at real pace, in an open loop: each chunk is due by the clock, whatever comes back.

All latencies are on the sender's clock, from when a sample was due, so that a slow server cannot hide its own queue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stenoflow.audio.files import open_audio
from stenoflow.base.errors import ClientError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow.text.plain import plain_words
from stenoflow.text.shown import first_shown
from stenoflow_cli.streaming import Stream

CLIPS = Path(__file__).resolve().parents[1] / "tests" / "clips"
CHUNK_MS = 160


@dataclass(frozen=True, slots=True)
class Shown:
    """A change of what is shown of a track, seconds since the call began.

    Args:
        at: when.
        heard_to: it is about sound before this.
        more: words than were shown before; may be negative.
    """

    at: float
    heard_to: float
    more: int


Captions = list[tuple[float, str]]
"""When, and which text, of one utterance."""


@dataclass
class Heard:
    """What one call measured, seconds.

    Args:
        covered: of each track, the end of a chunk and how long after it was due the first partial came that covers it.
        word: from a word's end in the sound to the first caption that shows it, unrevised afterwards.
        early: the same of those words alone that a caption before the final shows: the first pass had them right.
        final: from the end of an utterance's last word to its final.
        finals: each with the captions of its utterance, the final last; those of both passes, in order.
        shown: of each track.
        refused: the code of the error that ended the call.
    """

    covered: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    word: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    finals: list[tuple[wire.Final, Captions]] = field(default_factory=list)
    shown: dict[int, list[Shown]] = field(default_factory=dict)
    refused: str = ""

    @property
    def chunk(self) -> list[float]:
        """From each chunk's due time to the first partial that covers it."""
        return [late for chunks in self.covered.values() for _, late in chunks]

    @property
    def passes(self) -> list[int]:
        """The pass of each final that has words."""
        return [final.pass_ for final, _ in self.finals if final.text]

    def said(self, track: int) -> str:
        """The finals of a track."""
        return " ".join(final.text for final, _ in self.finals if final.track == track and final.text)

    def find_words(self) -> None:
        """Fills `word` and `early`: not during the call, whose clock it would disturb."""
        for final, captions in self.finals:
            plain = [(at, plain_words(text)) for at, text in captions]
            words = [word.word for word in final.words]
            for word, at in zip(final.words, first_shown(plain, words), strict=True):
                self.word.append(at - word.end / SAMPLE_RATE)
                if at < captions[-1][0]:
                    self.early.append(self.word[-1])


def clip_sounds() -> list[bytes]:
    """The repository's clips as 16 kHz PCM, some seconds each."""
    return [clip_sound(path) for path in sorted(CLIPS.glob("*.opus"))]


def clip_sound(path: Path) -> bytes:
    """One of them."""
    audio = open_audio(path)
    samples = np.frombuffer(b"".join(block[0] for block in audio.blocks()), "<i2")
    if audio.sample_rate != SAMPLE_RATE:  # Opus comes out at 48 kHz: a plain third is enough for a load
        samples = samples[:: audio.sample_rate // SAMPLE_RATE]
    return samples.tobytes()


def two_sided(clips: Sequence[bytes], seed: int, seconds: float) -> tuple[bytes, bytes]:
    """Two tracks that take turns, so that each speaks about half of the time; another order for each seed."""
    order = random.Random(seed)
    tracks = [bytearray(), bytearray()]
    speaker = seed % 2
    wanted = round(seconds * SAMPLE_RATE) * 2
    while len(tracks[0]) < wanted:
        turn = order.choice(clips)
        pause = bytes(2 * order.randrange(SAMPLE_RATE // 10, SAMPLE_RATE // 2))
        tracks[speaker] += turn + pause
        tracks[1 - speaker] += bytes(len(turn) + len(pause))
        speaker = 1 - speaker
    return bytes(tracks[0][:wanted]), bytes(tracks[1][:wanted])


async def call(url: str, sounds: Sequence[bytes], delay_s: float) -> Heard:
    """One call of several tracks at real pace."""
    heard = Heard()
    loop = asyncio.get_running_loop()
    await asyncio.sleep(delay_s)
    began = loop.time()
    open_captions: dict[tuple[int, int], Captions] = {}
    words: dict[tuple[int, int], int] = {}
    covered = [0] * len(sounds)  # samples: sums of 0.16 s miss their own multiples
    chunk = CHUNK_MS * SAMPLE_RATE // 1000

    def count(track: int, utterance: int, text: str, at: float, heard_to: int) -> None:
        more = len(text.split()) - words.get((track, utterance), 0)
        words[track, utterance] = len(text.split())
        heard.shown.setdefault(track, []).append(Shown(at, heard_to / SAMPLE_RATE, more))

    def note(message: Any) -> None:
        now = loop.time() - began
        match message:
            case wire.Partial(track=track, utterance=utterance, text=text):
                captions = open_captions.setdefault((track, utterance), [])
                if not captions or captions[-1][1] != text:
                    captions.append((now, text))
                    count(track, utterance, text, now, message.revision)
                while covered[track] + chunk <= message.revision:
                    covered[track] += chunk
                    second = covered[track] / SAMPLE_RATE
                    heard.covered.setdefault(track, []).append((second, now - second))
            case wire.Final(track=track, utterance=utterance, text=text):
                captions = open_captions.pop((track, utterance), [])
                heard.finals.append((message, [*captions, (now, text)]))
                if message.words:
                    heard.final.append(now - message.words[-1].end / SAMPLE_RATE)
                    count(track, utterance, text, now, message.words[-1].end)
            case _:
                pass

    start = wire.Start(
        tracks=tuple(wire.TrackRequest(name=f"track {n}", sample_rate=SAMPLE_RATE) for n in range(len(sounds)))
    )
    try:
        async with Stream(url, start, note, give_up_s=5) as stream:
            size = chunk * 2
            for step in range(max(map(len, sounds)) // size):
                await asyncio.sleep(max(0.0, began + (step + 1) * CHUNK_MS / 1000 - loop.time()))
                for track, sound in enumerate(sounds):
                    await stream.say(track, sound[step * size : (step + 1) * size])
            await stream.finish()
    except ClientError as error:
        heard.refused = error.code
    return heard


async def calls(url: str, count: int, sounds: Sequence[Sequence[bytes]]) -> list[Heard]:
    """Several calls, spread over one chunk so that they do not all speak at the same instant."""
    heard = await asyncio.gather(
        *(call(url, sounds[number % len(sounds)], number * CHUNK_MS / 1000 / count) for number in range(count))
    )
    for one in heard:
        one.find_words()
    return heard


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; NaN where there is nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
