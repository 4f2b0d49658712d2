"""Real speech for pipeline and fault tests, and the oracle: what the stages say in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from stenoflow.audio.files import open_audio
from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow_cli.stages import all_stages
from stenoflow_cli.streaming import Stream

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "shared" / "samples" / "two-sided-call.flac"
NAMES = ("agent", "customer")


@cache
def sample_sound() -> tuple[Sound, ...]:
    """Both tracks of the spoken sample."""
    audio = open_audio(SAMPLE)
    channels = [b"".join(pieces) for pieces in zip(*audio.blocks(), strict=True)]
    return tuple(Sound(name, audio.sample_rate, pcm) for name, pcm in zip(NAMES, channels, strict=True))


@cache
def stages() -> Any:
    """All stages of the shipped bundle, in this process."""
    return all_stages("en-small")


@cache
def oracle() -> tuple[wire.Final, ...]:
    """The sample's finals, undisturbed."""
    messages = transcribe(stages(), sample_sound())
    return tuple(wire.Final.model_validate(each) for each in messages if each["type"] == "final" and each["text"])


def texts(finals: Sequence[wire.Final], track: int) -> list[tuple[int, int, str]]:
    """What a track's finals say, and where."""
    return [(final.begin, final.end, final.text) for final in finals if final.track == track]


async def speak(
    stream_url: str,
    *,
    pace: float | None,
    during: Callable[[float], None] = lambda seconds: None,
    on_message: Callable[[Any], None] = lambda message: None,
    chunk_ms: int = 160,
) -> tuple[Sequence[wire.Final], int]:
    """Streams the sample; ``pace`` 1.0 is that of speech, None as fast as the window allows.

    ``during`` is called before each chunk with the second of the call, so that a test can do harm there.

    Returns:
        the finals, and how often the session was resumed.
    """
    sounds = sample_sound()
    rate = sounds[0].sample_rate
    start = wire.Start(
        kind="live" if pace else "file",
        tracks=tuple(wire.TrackRequest(name=sound.name, sample_rate=sound.sample_rate) for sound in sounds),
    )
    loop = asyncio.get_running_loop()
    async with Stream(stream_url, start, on_message, give_up_s=120) as call:
        began = loop.time()
        size = rate * chunk_ms // 1000 * 2
        for step in range(-(-max(len(sound.pcm) for sound in sounds) // size)):
            second = step * chunk_ms / 1000
            during(second)
            if pace:
                await asyncio.sleep(max(0.0, began + second / pace - loop.time()))
            for track, sound in enumerate(sounds):
                await call.say(track, sound.pcm[step * size : (step + 1) * size])
        finals = await call.finish()
        return finals, call.resumes
