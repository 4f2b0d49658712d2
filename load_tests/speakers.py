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

from stenoflow.base.errors import ClientError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow_cli.audio_files import open_audio
from stenoflow_cli.streaming import Stream

CLIPS = Path(__file__).resolve().parents[1] / "tests" / "clips"
CHUNK_MS = 160


@dataclass
class Heard:
    """What one call measured, seconds.

    Args:
        chunk: from a chunk's due time to the first partial or progress that covers it.
        word: from a word's end in the sound to the first caption that shows it, unrevised afterwards.
        final: from the end of an utterance's last word to its final.
        refused: the code of the error that ended the call.
    """

    chunk: list[float] = field(default_factory=list)
    word: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    words: int = 0
    refused: str = ""


def clip_sounds() -> list[bytes]:
    """The repository's clips as 16 kHz PCM, some seconds each."""
    sounds = []
    for path in sorted(CLIPS.glob("*.opus")):
        audio = open_audio(path)
        pcm = b"".join(block[0] for block in audio.blocks())
        samples = np.frombuffer(pcm, "<i2")
        if audio.sample_rate != SAMPLE_RATE:  # Opus comes out at 48 kHz: a plain third is enough for a load
            samples = samples[:: audio.sample_rate // SAMPLE_RATE]
        sounds.append(samples.tobytes())
    return sounds


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
    shown: dict[tuple[int, int], list[tuple[float, list[str]]]] = {}
    covered = [0] * len(sounds)
    chunk = CHUNK_MS * SAMPLE_RATE // 1000

    def note(message: Any) -> None:
        now = loop.time() - began
        match message:
            case wire.Partial():
                shown.setdefault((message.track, message.utterance), []).append((now, message.text.split()))
                while covered[message.track] + chunk <= message.revision:
                    covered[message.track] += chunk
                    heard.chunk.append(now - covered[message.track] / SAMPLE_RATE)
            case wire.Final():
                history = shown.pop((message.track, message.utterance), [])
                history.append((now, message.text.split()))
                if message.words:
                    heard.final.append(now - message.words[-1].end / SAMPLE_RATE)
                heard.words += len(message.words)
                heard.word += [
                    first_shown(history, number, word.word) - word.end / SAMPLE_RATE
                    for number, word in enumerate(message.words)
                ]
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


def first_shown(history: Sequence[tuple[float, list[str]]], number: int, word: str) -> float:
    """When a word appeared for good: the earliest caption from which on every one shows it at its place."""
    at = history[-1][0]
    for when, words in reversed(history):
        if len(words) <= number or words[number] != word:
            break
        at = when
    return at


async def calls(url: str, count: int, sounds: Sequence[Sequence[bytes]]) -> list[Heard]:
    """Several calls, spread over one chunk so that they do not all speak at the same instant."""
    return await asyncio.gather(
        *(call(url, sounds[number % len(sounds)], number * CHUNK_MS / 1000 / count) for number in range(count))
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; NaN where there is nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
