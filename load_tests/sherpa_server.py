"""sherpa-onnx's streaming recogniser behind the protocol of its own servers; written for the bench.

    python -m load_tests.sherpa_server FOLDER --kind nemo

A socket is a stream: binary messages are 32-bit floats at 16 kHz, the text ``Done`` ends it; answers are JSON with
``text``, ``tokens``, ``timestamps``, ``segment``, ``start_time`` and ``is_final``, and ``Done!`` last. All streams that
have enough sound are decoded in one batch, in a thread, as sherpa-onnx's servers do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from onnxruntime import InferenceSession
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from load_tests.sherpa import DONE, KINDS, Answer
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_acoustic.adding.onnx_ctc import EMISSION, LOOK_AHEAD, MODEL, TOKENS
from stenoflow_acoustic.export_sherpa import COUNTED_MS

BATCH = 16
GATHER_S = 0.01
"""Where nothing is ready, others are waited for so long."""
TAIL_S = 0.8
"""Silence after the end, so that the model's look-ahead is filled."""
QUIET_S, WORDLESS_S = 0.8, 2.4
"""Trailing silence that ends an utterance, after words and without any."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What a second of sherpa's is in the sound.

    Args:
        pace: seconds of sound for one of sherpa's, which takes every emission of zipformer2 for 40 ms.
        late_s: how much later than its sound the model says what it was, which sherpa does not know.
    """

    pace: float = 1.0
    late_s: float = 0.0

    @staticmethod
    def of(metadata: Mapping[str, str]) -> Clock:
        """Of a model by its metadata: our own exports tell both, for others sherpa is right."""
        return Clock(
            int(metadata.get(EMISSION, COUNTED_MS)) / COUNTED_MS,
            int(metadata.get(LOOK_AHEAD, 0)) / 1000,
        )

    def in_the_sound(self, timestamps: Sequence[float]) -> list[float]:
        """Where tokens lie, seconds from an utterance's start."""
        return [self.pace * at - self.late_s for at in timestamps]


@dataclass(eq=False)
class Stream:
    """One socket's stream.

    Args:
        inner: sherpa's.
        socket: where answers go.
        segment: number of the utterance.
        told: what was said last.
        over: all sound has come.
    """

    inner: Any
    socket: ServerConnection
    segment: int = 0
    told: list[str] = field(default_factory=list)
    over: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


def clock_of(folder: Path) -> Clock:
    """The clock of the model in a folder."""
    return Clock.of(InferenceSession(folder / MODEL).get_modelmeta().custom_metadata_map)


def recogniser(folder: Path, kind: str, clock: Clock) -> Any:
    """sherpa's recogniser with greedy search and its endpoint rules, one thread."""
    import sherpa_onnx

    make = {
        "nemo": sherpa_onnx.OnlineRecognizer.from_nemo_ctc,
        "zipformer2": sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc,
    }[kind]
    return make(
        tokens=str(folder / TOKENS),
        model=str(folder / MODEL),
        num_threads=1,
        enable_endpoint_detection=True,
        rule1_min_trailing_silence=WORDLESS_S / clock.pace,
        rule2_min_trailing_silence=QUIET_S / clock.pace,
    )


class Server:
    """Streams, and the one loop that decodes them.

    Args:
        engine: sherpa's recogniser.
        clock: of its model.
    """

    def __init__(self, engine: Any, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._streams: set[Stream] = set()

    async def take(self, socket: ServerConnection) -> None:
        """Serves one socket."""
        stream = Stream(self._engine.create_stream(), socket)
        self._streams.add(stream)
        try:
            async for message in socket:
                if message == DONE:
                    stream.inner.accept_waveform(SAMPLE_RATE, np.zeros(round(TAIL_S * SAMPLE_RATE), np.float32))
                    stream.inner.input_finished()
                    stream.over = True
                    await stream.done.wait()
                    await socket.send(DONE + "!")
                    return
                assert isinstance(message, bytes)
                stream.inner.accept_waveform(SAMPLE_RATE, np.frombuffer(message, np.float32))
        finally:
            self._streams.discard(stream)

    async def decode(self) -> None:
        """Decodes what is ready, batch by batch, for ever."""
        while True:
            ready = [stream for stream in self._streams if self._engine.is_ready(stream.inner)]
            for begin in range(0, len(ready), BATCH):
                batch = ready[begin : begin + BATCH]
                await asyncio.to_thread(self._engine.decode_streams, [stream.inner for stream in batch])
            for stream in list(self._streams):
                if stream in ready or stream.over:
                    await self._answer(stream)
            if not ready:
                await asyncio.sleep(GATHER_S)

    async def _answer(self, stream: Stream) -> None:
        finished = stream.over and not self._engine.is_ready(stream.inner)
        final = finished or self._engine.is_endpoint(stream.inner)
        tokens = list(self._engine.tokens(stream.inner))
        if tokens and (final or tokens != stream.told):
            found = Answer(
                self._engine.get_result(stream.inner),
                tokens,
                self._clock.in_the_sound(self._engine.timestamps(stream.inner)),
                stream.segment,
                self._engine.start_time(stream.inner),
                final,
            )
            with contextlib.suppress(ConnectionClosed):  # who hangs up is taken off by `take`
                await stream.socket.send(msgspec.json.encode(found).decode())
        stream.told = tokens
        if final:
            self._engine.reset(stream.inner)
            stream.segment += bool(tokens)
            stream.told = []
        if finished:
            stream.done.set()


async def run(folder: Path, kind: str) -> None:
    """Serves until the process ends; says its address first."""
    clock = clock_of(folder)
    server = Server(recogniser(folder, kind, clock), clock)
    async with serve(server.take, "127.0.0.1", 0, compression=None, max_size=2**20) as listening:
        port = listening.sockets[0].getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)
        await server.decode()


def main() -> None:
    """Serves a folder's model."""
    parser = argparse.ArgumentParser("sherpa_server", description="sherpa-onnx's recogniser, for the bench.")
    parser.add_argument("folder", type=Path, help="with model.onnx and tokens.txt")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    options = parser.parse_args()
    asyncio.run(run(options.folder, options.kind))


if __name__ == "__main__":
    main()
