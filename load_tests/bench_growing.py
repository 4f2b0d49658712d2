"""Stenoflow with its second pass beside Whisper over a growing window, on the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import jiwer
from rich.table import Table

from load_tests.conversations import Clip, Side, conversation, first_texts, known_clips, while_speaking
from load_tests.growing import DELAY_S, EVERY_S, keeps_up, serve_all, servers
from load_tests.outcomes import outcomes_of_workers
from load_tests.rungs import FULL_LADDER, climb, console, pair, progress, speak, table
from load_tests.second_pass_capacity import Promise, share_of_second_pass
from stenoflow.text.plain import plain_text
from stenoflow_cli.up import Stack, running_stack
from stenoflow_second_pass.models import whisper
from stenoflow_second_pass.models.weights import missing

GROWING_LADDER = (2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80)
GOAL = 5


async def growing(speech: Path, model: str, limit: int | None, seconds: float) -> None:
    """Prints how many tracks each holds, at which word error rate, latency and cost.

    Args:
        speech: folder with the held sets.
        model: of Stenoflow's second pass.
        limit: rungs that are tried of each ladder; None for all.
        seconds: length of a rung.
    """
    if absent := missing(whisper.RUNTIME | whisper.WHEEL):
        console.print(f"SKIPPED growing: whisper-tiny.en needs {', '.join(absent)}")
        return
    source, clips = known_clips(speech)
    rows = table(
        f"Whole system, calls of {source}, each side speaking about half of the time, {seconds:.0f} s a rung",
        *("system", "tracks", "delay p50/p95 s", "first text p50/p95 ms", "WER % (words)"),
        *("processor ms a track-second", "held"),
    )
    kept = {}
    for name, whole_window in (("growing, window as long as the sound", False), ("growing, windows of 30 s", True)):
        with servers(whole_window) as pool:
            rung = partial(_growing_rung, rows, name, pool, clips, seconds)
            kept[name] = await climb(GROWING_LADDER[:limit], rung)
    wanted = sorted({2, *kept.values(), *(GOAL * tracks for tracks in kept.values()), *FULL_LADDER[:limit]} - {0})
    ours = await _stenoflow(rows, model, clips, seconds, wanted)
    console.print(rows)
    console.print(
        f"delay: from each second of speech to its text (Stenoflow: each chunk of speech to its caption). A growing "
        f"window is decoded every {EVERY_S:.0f} s and held while p95 of the delay is at most {DELAY_S:.0f} s and does "
        "not grow; Stenoflow keeps its own promise: p95 of words that the first pass has right within 300 ms of its "
        "floor, 95 % of utterances heard again in time. First text: from where the level says that a turn begins."
    )
    for name, tracks in kept.items():
        ratio = f"{ours / tracks:.1f} times as many (goal {GOAL})" if tracks else "no ratio"
        if tracks == GROWING_LADDER[:limit][-1] or ours == wanted[-1]:
            ratio += ", but a ladder ended before its system did"
        console.print(f"{name}: {tracks} tracks; Stenoflow: {ours}: [bold]{ratio}[/]")


async def _growing_rung(
    rows: Table, name: str, pool: ProcessPoolExecutor, clips: Sequence[Clip], seconds: float, tracks: int
) -> bool:
    sides = _sides(clips, tracks, seconds)
    with progress() as bar:
        bar.add_task(f"{name}: {tracks} tracks", total=None)
        served = await asyncio.to_thread(serve_all, pool, [side.pcm for side in sides], seconds)
    processes = len(served)
    said = [served[number % processes].texts[number // processes] for number in range(tracks)]
    shown = [served[number % processes].shown[number // processes] for number in range(tracks)]
    first = [late for side, history in zip(sides, shown, strict=True) for late in first_texts(side.turns, history)]
    delays = sorted(delay for one in served for delay in one.delays)
    held = keeps_up(delays, seconds)
    cpu_s = sum(one.cpu_s for one in served)
    _row(rows, name, sides, said, [delay for _, delay in delays], first, cpu_s / (tracks * seconds), held)
    return held


async def _stenoflow(rows: Table, model: str, clips: Sequence[Clip], seconds: float, ladder: Sequence[int]) -> int:
    promise = Promise()
    async with running_stack(Stack(port=0, second_pass=model), console) as stack:

        async def rung(tracks: int) -> bool:
            sides = _sides(clips, tracks, seconds)
            calls = [(sides[at].pcm, sides[at + 1].pcm) for at in range(0, tracks, 2)]
            before = outcomes_of_workers(stack.logs)
            with progress() as bar:
                bar.add_task(f"Stenoflow: {tracks} tracks", total=None)
                heard, cost = await speak(stack.stream_url, stack.redis, tracks, calls)
            said = [heard[number // 2].said(number % 2) for number in range(tracks)]
            first: list[float] = []
            delays: list[float] = []
            for number, side in enumerate(sides):
                one = heard[number // 2]
                first += first_texts(side.turns, one.shown.get(number % 2, []))
                delays += while_speaking(side.turns, one.covered.get(number % 2, []))
            cpu_s = sum(spent for name, spent in cost.cpu_s.items() if name != "load")
            held = promise.kept(heard, outcomes_of_workers(stack.logs) - before)
            name = f"Stenoflow, {model} ({100 * share_of_second_pass(heard):.0f} % from pass 2)"
            _row(rows, name, sides, said, delays, first, cpu_s / (tracks * seconds), held)
            return held

        return await climb(ladder, rung)


def _sides(clips: Sequence[Clip], tracks: int, seconds: float) -> list[Side]:
    return [side for seed in range(tracks // 2) for side in conversation(clips, seed, seconds)]


def _row(
    rows: Table,
    name: str,
    sides: Sequence[Side],
    said: Sequence[str],
    delays: Sequence[float],
    first: Sequence[float],
    cpu: float,
    held: bool,
) -> None:
    spoken = [(side.text, plain_text(text)) for side, text in zip(sides, said, strict=True) if side.text]
    references, hypotheses = [reference for reference, _ in spoken], [text for _, text in spoken]
    rows.add_row(
        name,
        str(len(sides)),
        pair(delays, 0.95, 1, 2),
        pair(first, 0.95, 1000),
        f"{100 * jiwer.wer(references, hypotheses):.1f} ({sum(len(text.split()) for text in references)})",
        f"{1000 * cpu:.0f}",
        "yes" if held else "no",
    )
