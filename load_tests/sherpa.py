"""sherpa-onnx on the same calls: its recogniser behind its streaming protocol, and a caller that speaks it.

What comes back is noted by the same :class:`load_tests.speakers.Listener`. Its protocol says nothing of how far it has
heard, so ``chunk``, lag and pauses are not measured of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import websockets

from load_tests.speakers import CHUNK_MS, Heard, Listener, Voice
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow_cli.up import ONE_THREAD

PACKAGE = "sherpa-onnx>=2.0,<3"
KINDS = ("nemo", "zipformer2")
FRAME_S = 0.04
"""A token is said for about so long: a word ends so much after its last token's time."""
DONE = "Done"
START_S = 180.0


class Answer(msgspec.Struct):
    """What the server says of one stream, as sherpa-onnx's own servers do."""

    text: str
    tokens: list[str]
    timestamps: list[float]
    segment: int
    start_time: float
    is_final: bool


def words_of(answer: Answer) -> tuple[wire.Word, ...]:
    """Its words and where they are; a token with a space or ``▁`` in front begins one."""
    pieces: list[tuple[str, float, float]] = []
    for token, at in zip(answer.tokens, answer.timestamps, strict=False):
        text = token.replace("▁", " ")
        begin, end = answer.start_time + at, answer.start_time + at + FRAME_S
        if pieces and not text.startswith(" "):
            word, first, _ = pieces[-1]
            pieces[-1] = (word + text, first if word else begin, end)
        else:
            pieces.append((text.strip(), begin, end))
    # A space that is a token of its own (letters) leaves an empty piece that the next letters fill.
    return tuple(
        wire.Word(word=word.strip(), begin=round(begin * SAMPLE_RATE), end=round(end * SAMPLE_RATE), confidence=1)
        for word, begin, end in pieces
        if word.strip()
    )


def as_message(track: int, answer: Answer) -> wire.Partial | wire.Final:
    """The same in our own words."""
    words = words_of(answer)
    text = " ".join(word.word for word in words)
    begin, end = (words[0].begin, words[-1].end) if words else (0, 0)
    if answer.is_final:
        return wire.Final(
            track=track, utterance=answer.segment, begin=begin, end=end, text=text, words=words, confidence=1
        )
    return wire.Partial(track=track, utterance=answer.segment, revision=0, begin=begin, end=end, text=text, stable=0)


async def sherpa_call(url: str, voices: Sequence[Voice], delay_s: float, *, since_s: float = 0.0) -> Heard:
    """One call at real pace, a socket for each track; see :func:`load_tests.speakers.call`."""
    heard = Heard(since=since_s)
    loop = asyncio.get_running_loop()
    await asyncio.sleep(delay_s)
    began = loop.time()
    listener = Listener(heard, lambda: loop.time() - began, voices[0].length / SAMPLE_RATE)
    try:
        await asyncio.gather(*(_track(url, track, voice, listener, began) for track, voice in enumerate(voices)))
    except (OSError, TimeoutError, websockets.WebSocketException):
        heard.refused = "connection_lost"
    return heard


async def _track(url: str, track: int, voice: Voice, listener: Listener, began: float) -> None:
    loop, size = asyncio.get_running_loop(), SAMPLE_RATE * CHUNK_MS // 1000
    decode = msgspec.json.Decoder(Answer).decode
    async with websockets.connect(url, compression=None, max_size=2**20) as socket:

        async def listen() -> None:
            async for text in socket:
                if text == DONE + "!":
                    return
                answer = decode(text)
                if answer.tokens:
                    listener.note(as_message(track, answer))

        listening = asyncio.create_task(listen())
        try:
            for step in range(voice.length // size):
                due = began + (step + 1) * CHUNK_MS / 1000
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                    listener.woke(loop.time() - due)
                samples = np.frombuffer(voice.spoken(step * size, (step + 1) * size), "<i2")
                await socket.send((samples.astype(np.float32) / 32768).tobytes())
            await socket.send(DONE)
            await listening
        finally:
            listening.cancel()


def why_not(folder: Path) -> str:
    """Why a model cannot be served, in a sentence; empty where it can."""
    if find_spec("sherpa_onnx") is None:
        return f"it is not installed: pip install '{PACKAGE}'"
    absent = [name for name in ("model.onnx", "tokens.txt") if not (folder / name).is_file()]
    return f"there is no {' and no '.join(absent)} in {folder}" if absent else ""


@contextlib.asynccontextmanager
async def sherpa_stack(folder: Path, kind: str) -> AsyncIterator[str]:
    """A server with the model in a folder; gives its address."""
    command = [sys.executable, "-m", "load_tests.sherpa_server", str(folder), "--kind", kind]
    server = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env={**os.environ, **ONE_THREAD})
    try:
        assert server.stdout is not None
        line = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                line = (await server.stdout.readline()).decode().strip()
        if not line.startswith("ws://"):
            raise RuntimeError(f"sherpa-onnx did not start within {START_S:.0f} s; it says why above")
        yield line
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.wait()
