"""A process that makes calls: it reads them as lines, and writes what came of each as a line.

    python -m load_tests.generator

The load generator is several of these, so that it does not run short of one core; a Locust worker has one of its own.
Begins are given on the machine's monotonic clock, so all processes speak by one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
import uvloop

from load_tests.loss import tiles
from load_tests.scenario import Kind
from load_tests.sherpa import sherpa_call
from load_tests.speakers import Heard, call
from load_tests.voices import LineVoice, voices
from stenoflow_cli.up import ONE_THREAD

TRACKS_A_PROCESS = 60
LINE_BYTES = 2**26
MEASURES = ("word", "early", "first_partial", "final", "chunk")
READY = b"ready\n"


class Call(msgspec.Struct, frozen=True):
    """One call that is to be made.

    Args:
        number: of the call in its rung.
        seed: of what is said.
        kind: name of the kind of caller.
        sample_rate: Hz.
        telephone: whether the sound went over a telephone line.
        url: of the server.
        begin: on the machine's monotonic clock, seconds.
        seconds: its length.
        since: second of the call from which on it is measured.
        cuts: seconds of the call at which its socket is cut.
        second_pass: that is asked for.
        peer: empty for Stenoflow; ``sherpa``.
    """

    number: int
    seed: int
    kind: str
    sample_rate: int
    telephone: bool
    url: str
    begin: float
    seconds: float
    since: float = 0.0
    cuts: tuple[float, ...] = ()
    second_pass: str = "off"
    peer: str = ""

    def voices(self) -> tuple[LineVoice, LineVoice]:
        """What its two sides say."""
        kind = Kind(name=self.kind, share=1, sample_rate=self.sample_rate, telephone=self.telephone)
        return voices(kind, self.seed, self.seconds)


class Outcome(msgspec.Struct, frozen=True):
    """What came of a call; times in seconds.

    Args:
        number: of the call.
        measures: by the names of MEASURES.
        lag: second of the call, and the lag then.
        steps: of the captions whose ways were told, by step.
        late: how much later than due chunks were sent, for want of processor time of the generator.
        pause: the longest time in which captions covered no new sound.
        texts: what was said, by track, plain.
        finals: begin, end (16 kHz samples) and text, by track.
        untiled: what is wrong with them, in words; empty where they tile.
        resumes: how often it went on over another socket.
        refused: the code of the error that ended it.
    """

    number: int
    measures: Mapping[str, list[float]]
    lag: list[tuple[float, float]]
    steps: Mapping[str, list[float]]
    late: list[float]
    pause: float
    texts: list[str]
    finals: list[list[tuple[int, int, str]]]
    untiled: str
    resumes: int
    refused: str


def outcome_of(asked: Call, sides: Sequence[LineVoice], heard: Heard) -> Outcome:
    """What a call came to, as a line can say it."""
    heard.find_words()
    finals = [
        [(final.begin, final.end, final.text) for final, _ in heard.finals if final.track == track and final.text]
        for track in range(len(sides))
    ]
    return Outcome(
        asked.number,
        {name: getattr(heard, name) for name in MEASURES},
        heard.lag,
        heard.steps,
        heard.late,
        heard.pause,
        [side.text for side in sides],
        finals,
        "" if heard.refused or asked.peer else tiles(finals, heard.ended, [side.length for side in sides]),
        heard.resumes,
        heard.refused,
    )


async def make(asked: Call) -> Outcome:
    """Makes one call, when its time has come."""
    sides = asked.voices()
    delay_s = asked.begin - asyncio.get_running_loop().time()
    if asked.peer == "sherpa":
        heard = await sherpa_call(asked.url, sides, delay_s, since_s=asked.since)
    else:
        heard = await call(
            asked.url, sides, delay_s, since_s=asked.since, cuts_s=asked.cuts, second_pass=asked.second_pass
        )
    return await asyncio.to_thread(outcome_of, asked, sides, heard)


async def serve() -> None:
    """Makes the calls that standard input names, until it closes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    out = os.fdopen(os.dup(1), "wb")
    decode, encode = msgspec.json.Decoder(Call).decode, msgspec.json.Encoder().encode

    async def answer(asked: Call) -> None:
        found = encode(await make(asked)) + b"\n"
        out.write(found)
        out.flush()

    out.write(READY)
    out.flush()
    async with asyncio.TaskGroup() as tasks:
        async for line in reader:
            tasks.create_task(answer(decode(line)))


class Generators:
    """Several generator processes. Made by :func:`generators`."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes

    async def play(self, calls: Sequence[Call]) -> list[Outcome]:
        """Makes all calls; returns when the last is over, in the order of their numbers.

        Raises:
            RuntimeError: a generator died.
        """
        count = len(self._processes)
        shares = [calls[at::count] for at in range(count)]
        found = await asyncio.gather(*map(_ask, self._processes, shares))
        return sorted((outcome for share in found for outcome in share), key=lambda outcome: outcome.number)


async def _ask(process: Process, calls: Sequence[Call]) -> list[Outcome]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.writelines(msgspec.json.encode(each) + b"\n" for each in calls)
    await process.stdin.drain()
    found = []
    for _ in calls:
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"a load generator ended with exit code {await process.wait()}: its calls are lost")
        found.append(msgspec.json.decode(line, type=Outcome))
    return found


@contextlib.asynccontextmanager
async def generators(most_tracks: int) -> AsyncIterator[Generators]:
    """As many processes as so many tracks need, at most one a core; ready."""
    count = max(1, min(os.cpu_count() or 1, -(-most_tracks // TRACKS_A_PROCESS)))
    command = [sys.executable, "-m", "load_tests.generator"]
    environment = {**os.environ, **ONE_THREAD}
    processes = [
        await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES, env=environment)
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if await process.stdout.readline() != READY:
                raise RuntimeError(f"a load generator did not start (exit code {await process.wait()})")
        yield Generators(processes)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


if __name__ == "__main__":
    uvloop.run(serve())
