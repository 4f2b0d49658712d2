"""``make bench``: the figures of ``docs/benchmarks.md``, each printed with what it was measured on.

python -m load_tests.bench bus        the bus alone, with workers that pass entries on
python -m load_tests.bench full       the whole pipeline with the shipped bundle
python -m load_tests.bench wer        the held sets, through Redis and in one process
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
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

import jiwer
import numpy as np
from rich.console import Console
from rich.table import Table

from load_tests.held import SETS, Item, items
from load_tests.processes import Spent, spent
from load_tests.speakers import Heard, calls, clip_sounds, percentile, two_sided
from stenoflow.bus.records import NEEDED
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow.protocol import messages as wire
from stenoflow_cli.streaming import Stream
from stenoflow_cli.up import ONE_THREAD, Stack, running_stack

console = Console(width=150)
CHUNK_PROMISE_S = 0.050
WORD_PROMISE_S = 0.300
BUS_MEASURES = {"chunk": 0.99}
FULL_MEASURES = {"word": 0.95, "final": 0.95}
"""What a table shows, and which percentile beside the median."""
BUS_LADDER = (20, 50, 100, 150, 200, 300, 400, 500)
FULL_LADDER = (2, 8, 16, 24, 32, 40, 50, 60, 80, 100)


@contextlib.asynccontextmanager
async def null_stack() -> AsyncIterator[tuple[str, str]]:
    """Gateway, Redis and null workers; gives the stream's address and Redis'."""
    with EmbeddedRedis() as server, tempfile.TemporaryFile() as log, contextlib.ExitStack() as cleanup:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        commands = [[sys.executable, "-m", "load_tests.null_worker", stage, "--redis", server.url] for stage in NEEDED]
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
    table = _table(
        "Bus alone: two-track calls, 160 ms chunks, null stages; load generator on the same cores", BUS_MEASURES
    )
    kept = 0
    async with null_stack() as (url, redis_url):
        for tracks in BUS_LADDER:
            sound = [(bytes(round(seconds * 32_000)),) * 2]
            heard, cost = await _rung(url, redis_url, tracks, sound)
            p99 = percentile([value for one in heard for value in one.chunk], 0.99)
            _row(table, BUS_MEASURES, tracks, heard, cost, seconds)
            if p99 > CHUNK_PROMISE_S or any(one.refused for one in heard):
                break
            kept = tracks
    console.print(table)
    console.print(f"tracks with p99 of chunk at most {CHUNK_PROMISE_S * 1000:.0f} ms: [bold]{kept}[/] (goal 500)")


async def full(seconds: float) -> None:
    """Tracks whose `word` p95 stays within 300 ms of its floor, through everything."""
    table = _table(
        "Whole pipeline, en-small: two-sided calls of real speech, each side speaking half of the time", FULL_MEASURES
    )
    clips = clip_sounds()
    floor = kept = 0.0
    async with running_stack(Stack(port=0), console) as stack:
        for tracks in FULL_LADDER:
            sounds = [two_sided(clips, seed, seconds) for seed in range(tracks // 2)]
            heard, cost = await _rung(stack.stream_url, stack.redis, tracks, sounds)
            p95 = percentile([value for one in heard for value in one.word], 0.95)
            _row(table, FULL_MEASURES, tracks, heard, cost, seconds)
            # The floor: an unloaded call. Chunk, look-ahead and the model's own delay are in it.
            floor = floor or p95
            if p95 > floor + WORD_PROMISE_S or any(one.refused for one in heard):
                break
            kept = tracks
    console.print(table)
    console.print(
        f"tracks with word p95 within {WORD_PROMISE_S * 1000:.0f} ms of its floor ({floor * 1000:.0f} ms, one call): "
        f"[bold]{kept:.0f}[/] (at least 40)"
    )


async def _rung(url: str, redis_url: str, tracks: int, sounds: Sequence[Sequence[bytes]]) -> tuple[list[Heard], Spent]:
    before = spent(redis_url)
    heard = await calls(url, tracks // 2, sounds)
    return heard, spent(redis_url).since(before)


def _table(title: str, measures: Mapping[str, float]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("tracks", *(f"{name} p50/p{round(high * 100)} ms" for name, high in measures.items())):
        table.add_column(name)
    table.add_column("CPU ms a track-second")
    table.add_column("Redis ops a track-s", justify="right")
    table.add_column("refused", justify="right")
    return table


def _row(
    table: Table, measures: Mapping[str, float], tracks: int, heard: Sequence[Heard], cost: Spent, seconds: float
) -> None:
    def pair(name: str, high: float) -> str:
        values = [value * 1000 for one in heard for value in getattr(one, name)]
        return f"{percentile(values, 0.5):.0f} / {percentile(values, high):.0f}"

    track_seconds = tracks * seconds
    split = ", ".join(
        f"{name} {1000 * cpu / track_seconds:.1f}"
        for name, cpu in sorted(cost.cpu_s.items(), key=lambda item: -item[1])
    )
    refused = sum(bool(one.refused) for one in heard)
    table.add_row(
        str(tracks),
        *(pair(name, high) for name, high in measures.items()),
        split,
        f"{cost.commands / track_seconds:.0f}",
        str(refused),
    )


async def wer(speech: Path, limit: int | None) -> None:
    """Word error rates of the shipped bundle on the held sets: through Redis, and in one process."""
    from stenoflow.runtime.in_process import Sound, transcribe
    from stenoflow_cli.stages import all_stages

    if not speech.is_dir():
        console.print(f"SKIPPED wer: no held sets at {speech}")
        return
    table = Table(
        title="WER / CER %, streaming at 160 ms chunks with the n-gram (95 % interval by speaker)", title_justify="left"
    )
    for name in ("set", "utterances", "in one process", "through Redis", "texts that differ", "audio s per s"):
        table.add_column(name)
    stages = all_stages("en-small")
    async with running_stack(Stack(port=0), console) as stack:
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
            table.add_row(
                name, str(len(chosen)), _errors(chosen, alone), _errors(chosen, through), str(different), f"{speed:.0f}"
            )
    console.print(table)


async def _all_through_redis(url: str, chosen: Sequence[Item]) -> list[str]:
    places = asyncio.Semaphore(8)

    async def one(item: Item) -> str:
        start = wire.Start(kind="file", tracks=(wire.TrackRequest(name="one", sample_rate=16_000),))
        async with places, Stream(url, start, lambda message: None, give_up_s=60) as stream:
            for begin in range(0, len(item.pcm), 5120):
                await stream.say(0, item.pcm[begin : begin + 5120])
            return " ".join(final.text for final in await stream.finish() if final.text)

    return list(await asyncio.gather(*(one(item) for item in chosen)))


def _errors(chosen: Sequence[Item], said: Sequence[str]) -> str:
    references = [item.text for item in chosen]
    low, high = interval([item.speaker for item in chosen], references, said)
    error, characters = jiwer.wer(references, list(said)) * 100, jiwer.cer(references, list(said)) * 100
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


def main() -> None:
    """Runs what was asked for; all of it by default."""
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["bus", "full", "wer"], default=["bus", "full", "wer"])
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each rung's calls (default: 30)")
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"), help="folder with the held sets")
    parser.add_argument("--limit", type=int, help="utterances a held set, for a quick look (default: all)")
    options = parser.parse_args()
    console.print(f"[dim]{_machine()}[/]")
    if "bus" in options.what:
        asyncio.run(bus(options.seconds))
    if "full" in options.what:
        asyncio.run(full(options.seconds))
    if "wer" in options.what:
        asyncio.run(wer(options.speech, options.limit))


def _machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    return f"{os.cpu_count()} cores ({model}), load before: {', '.join(f'{x:.1f}' for x in os.getloadavg())}, one run"


if __name__ == "__main__":
    main()
