"""``make bench``: the figures of ``docs/benchmarks.md``, each printed with what it was measured on.

python -m load_tests.bench bus            the bus alone, with workers that pass entries on
python -m load_tests.bench rest           everything but the acoustic model, whose emissions are replayed
python -m load_tests.bench full           the whole pipeline with the shipped bundle, one pass
python -m load_tests.bench always         the same, both sides of each call speaking all the time
python -m load_tests.bench wer            the held sets, through Redis and in one process, one pass
python -m load_tests.bench second-pass    with the second pass: all parts of load_tests.bench_second_pass
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from load_tests import bench_second_pass
from load_tests.held import SETS, Item, items
from load_tests.rungs import (
    FULL_LADDER,
    WORD_PROMISE_S,
    add_rung,
    climb,
    console,
    errors,
    machine,
    measures_table,
    speak,
    table,
    values,
)
from load_tests.speakers import at_once, clip_sounds, percentile, two_sided
from stenoflow.bus.records import NEEDED, Stages
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow.protocol import messages as wire
from stenoflow_cli.streaming import Stream
from stenoflow_cli.up import OFF, ONE_THREAD, Stack, running_stack

CHUNK_PROMISE_S = 0.050
BUS_MEASURES = {"chunk": 0.99}
FULL_MEASURES = {"word": 0.95, "final": 0.95}
"""What a table shows, and which percentile beside the median."""
PARTS = ["bus", "rest", "full", "always", "wer", "second-pass"]
BUS_LADDER = (20, 50, 100, 150, 200, 300, 400, 500)
REST_LADDER = (2, 40, 80, 120, 150, 180, 220)
NULL = {stage: ["load_tests.null_worker", stage.value] for stage in NEEDED}
"""Workers that compute nothing."""
REPLAYING = {
    Stages.FEATURES: ["stenoflow_features", "--places", "500"],
    Stages.ACOUSTIC: ["load_tests.replaying_worker"],
    Stages.DECODER: ["stenoflow_decoder", "--places", "500"],
}
"""Admission would end the ladder first: what is asked is where the captions come too late."""


@contextlib.asynccontextmanager
async def stack_of(workers: Mapping[Stages, Sequence[str]]) -> AsyncIterator[tuple[str, str]]:
    """Gateway, Redis and one worker a stage (its module and arguments); gives the stream's address and Redis'."""
    with EmbeddedRedis() as server, tempfile.TemporaryFile() as log, contextlib.ExitStack() as cleanup:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        commands = [[sys.executable, "-m", *worker, "--redis", server.url] for worker in workers.values()]
        commands.append([sys.executable, "-m", "stenoflow_gateway", "--redis", server.url, "--port", str(port)])
        for command in commands:
            process = subprocess.Popen(command, stderr=log, stdout=log, env=_environment())
            cleanup.callback(process.wait)
            cleanup.callback(process.terminate)
        await _until_ready(f"http://127.0.0.1:{port}/readyz")
        yield f"ws://127.0.0.1:{port}/v1/stream", server.url


def _environment() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD}


async def _until_ready(url: str) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            if (await asyncio.to_thread(urlopen, url, timeout=2)).status == 200:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} was not ready within 30 s")


async def bus(seconds: float) -> None:
    """Tracks whose `chunk` stays within its promise, with stages that do nothing."""
    rows = measures_table(
        "Bus alone: two-track calls, 160 ms chunks, null stages; load generator on the same cores", BUS_MEASURES
    )
    async with stack_of(NULL) as (url, redis_url):

        async def rung(tracks: int) -> bool:
            heard, cost = await speak(url, redis_url, tracks, [(bytes(round(seconds * 32_000)),) * 2])
            add_rung(rows, BUS_MEASURES, tracks, heard, cost, seconds)
            within = percentile(values(heard, "chunk"), 0.99) <= CHUNK_PROMISE_S
            return within and not any(one.refused for one in heard)

        kept = await climb(BUS_LADDER, rung)
    console.print(rows)
    console.print(f"tracks with p99 of chunk at most {CHUNK_PROMISE_S * 1000:.0f} ms: [bold]{kept}[/] (goal 500)")


async def rest(seconds: float) -> None:
    """Tracks whose `word` p95 stays within 300 ms of its floor, with replayed emissions."""
    title = (
        "Everything but the acoustic model, whose emissions are replayed: two-sided calls, each side half of the time"
    )
    async with stack_of(REPLAYING) as (url, redis_url):
        await _spoken(title, REST_LADDER, url, redis_url, seconds, two_sided, "goal 150")


async def full(seconds: float) -> None:
    """The same through everything but a second pass."""
    title = "Whole pipeline, en-small, one pass: two-sided calls of real speech, each side speaking half of the time"
    async with running_stack(Stack(port=0, second_pass=OFF), console) as stack:
        await _spoken(title, FULL_LADDER, stack.stream_url, stack.redis, seconds, two_sided, "at least 60, goal 120")


async def always(seconds: float) -> None:
    """The same where nobody is ever silent."""
    title = "Whole pipeline, en-small, one pass: calls whose two sides both speak all the time"
    async with running_stack(Stack(port=0, second_pass=OFF), console) as stack:
        await _spoken(title, FULL_LADDER, stack.stream_url, stack.redis, seconds, at_once, "at least 40, goal 80")


async def _spoken(
    title: str,
    ladder: Sequence[int],
    url: str,
    redis_url: str,
    seconds: float,
    call: Callable[[Sequence[bytes], int, float], tuple[bytes, bytes]],
    wanted: str,
) -> None:
    rows = measures_table(title, FULL_MEASURES)
    clips = clip_sounds()
    floor = 0.0

    async def rung(tracks: int) -> bool:
        nonlocal floor
        sounds = [call(clips, seed, seconds) for seed in range(tracks // 2)]
        heard, cost = await speak(url, redis_url, tracks, sounds)
        add_rung(rows, FULL_MEASURES, tracks, heard, cost, seconds)
        p95 = percentile(values(heard, "word"), 0.95)
        # The floor: an unloaded call. Chunk, look-ahead and the model's own delay are in it.
        floor = floor or p95
        return p95 <= floor + WORD_PROMISE_S and not any(one.refused for one in heard)

    kept = await climb(ladder, rung)
    console.print(rows)
    console.print(
        f"tracks with word p95 within {WORD_PROMISE_S * 1000:.0f} ms of its floor ({floor * 1000:.0f} ms, one call): "
        f"[bold]{kept}[/] ({wanted})"
    )


async def wer(speech: Path, limit: int | None) -> None:
    """Word error rates of the shipped bundle on the held sets: through Redis, and in one process."""
    from stenoflow.runtime.in_process import Sound, transcribe
    from stenoflow_cli.stages import all_stages

    if not speech.is_dir():
        console.print(f"SKIPPED wer: no held sets at {speech}")
        return
    rows = table(
        "WER / CER %, one pass, streaming at 160 ms chunks with the n-gram (95 % interval by speaker)",
        *("set", "utterances", "in one process", "through Redis", "texts that differ", "audio s per s"),
    )
    stages = all_stages("en-small")
    async with running_stack(Stack(port=0, second_pass=OFF), console) as stack:
        for name in SETS:
            chosen = list(items(speech, name, limit))
            began = time.monotonic()
            alone = []
            for item in chosen:
                said = transcribe(stages, [Sound("one", 16_000, item.pcm)])
                alone.append(" ".join(each["text"] for each in said if each["type"] == "final" and each["text"]))
            speed = sum(len(item.pcm) / 32_000 for item in chosen) / (time.monotonic() - began)
            through = await _all_through_redis(stack.stream_url, chosen)
            different = sum(one != other for one, other in zip(alone, through, strict=True))
            who, right = [item.speaker for item in chosen], [item.text for item in chosen]
            rows.add_row(
                name,
                str(len(chosen)),
                errors(who, right, alone),
                errors(who, right, through),
                str(different),
                f"{speed:.0f}",
            )
    console.print(rows)


async def _all_through_redis(url: str, chosen: Sequence[Item]) -> list[str]:
    places = asyncio.Semaphore(8)

    async def one(item: Item) -> str:
        start = wire.Start(kind="file", tracks=(wire.TrackRequest(name="one", sample_rate=16_000),))
        async with places, Stream(url, start, lambda message: None, give_up_s=60) as stream:
            for begin in range(0, len(item.pcm), 5120):
                await stream.say(0, item.pcm[begin : begin + 5120])
            return " ".join(final.text for final in await stream.finish() if final.text)

    return list(await asyncio.gather(*(one(item) for item in chosen)))


def main() -> None:
    """Runs what was asked for; all of it by default."""
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each rung's calls (default: 30)")
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"), help="folder with the held sets")
    parser.add_argument("--limit", type=int, help="utterances a held set, rungs of the second pass")
    options = parser.parse_args()
    console.print(f"[dim]{machine()}[/]")
    if "bus" in options.what:
        asyncio.run(bus(options.seconds))
    if "rest" in options.what:
        asyncio.run(rest(options.seconds))
    if "full" in options.what:
        asyncio.run(full(options.seconds))
    if "always" in options.what:
        asyncio.run(always(options.seconds))
    if "wer" in options.what:
        asyncio.run(wer(options.speech, options.limit))
    if "second-pass" in options.what:
        bench_second_pass.run(bench_second_pass.PARTS, options.speech, None, options.limit, options.seconds)


if __name__ == "__main__":
    main()
