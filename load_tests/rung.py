"""One rung: which calls it makes, how it is played, and its figures."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jiwer

from load_tests.generator import Call, Generators, Outcome
from load_tests.loss import Differences, differences, undisturbed
from load_tests.processes import Spent, resident, spent
from load_tests.results import Cost, Figures, Loss, Rung, Words, lag_by_second, lag_halves
from load_tests.rungs import interval
from load_tests.scenario import LAST_WORDS_S, TRACKS_A_CALL, Scenario
from load_tests.speakers import CHUNK_MS
from load_tests.voices import kind_of
from stenoflow.bus.records import Stages
from stenoflow.runtime.in_process import Sound
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text

LEAD_S = 1.5
LEAD_A_CALL_S = 0.02
"""Before a rung begins the generators make its voices."""
SPREAD = 0.6180339887
"""Multiples of it, less their whole parts, fill 0 to 1 evenly: which calls a storm cuts."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured.

    Args:
        url: where calls go.
        redis: address of its Redis; empty where there is none.
        pid: process id of a program by name (``acoustic-1``); None where none may be killed.
        peer: empty for Stenoflow; ``sherpa``.
    """

    url: str
    redis: str = ""
    pid: Callable[[str], int | None] | None = None
    peer: str = ""


def plan(scenario: Scenario, tracks: int, url: str, begin: float, peer: str = "") -> list[Call]:
    """The calls of a rung.

    Args:
        scenario: what is played.
        tracks: at once.
        url: where they go.
        begin: of the rung, on the machine's monotonic clock.
        peer: see :class:`Target`.
    """
    lines = tracks // TRACKS_A_CALL
    found: list[Call] = []
    for line in range(lines):
        # Spread over one chunk, so that they do not all speak at the same instant.
        first = line * CHUNK_MS / 1000 / lines
        for at, seconds in _lengths(scenario, line, first):
            number = len(found)
            kind = kind_of(scenario.mix, number)
            found.append(
                Call(
                    number,
                    number,
                    kind.name,
                    # Peers take 16 kHz; what the telephone took from the sound is gone all the same.
                    16_000 if peer else kind.sample_rate,
                    kind.telephone,
                    url,
                    begin + at,
                    seconds,
                    max(0.0, scenario.warm_up_s - at),
                    tuple(
                        storm.at_s - at
                        for storm in scenario.storms
                        if at < storm.at_s < at + seconds and line * SPREAD % 1 < storm.share
                    ),
                    scenario.second_pass,
                    peer,
                )
            )
    return found


def _lengths(scenario: Scenario, line: int, first: float) -> list[tuple[float, float]]:
    """Begin and length of the calls of a line, seconds of the rung."""
    churn = scenario.churn
    if churn is None:
        return [(first, scenario.seconds)]
    found: list[tuple[float, float]] = []
    chance, at = random.Random(line), first
    while (left := scenario.seconds - at) >= LAST_WORDS_S:
        shortest = LAST_WORDS_S if not found else churn.shortest_s  # else all lines would change at one time
        seconds = min(left, chance.uniform(shortest, churn.longest_s))
        found.append((at, seconds))
        at += seconds + churn.pause_s
    return found


@dataclass
class Watch:
    """What was seen of machine and processes while a rung was played."""

    before: Spent | None = None
    after: Spent | None = None
    most_bytes: dict[str, int] = field(default_factory=dict)
    load: tuple[float, float] = (0.0, 0.0)


async def play(
    scenario: Scenario,
    tracks: int,
    target: Target,
    callers: Generators,
    idle: Mapping[str, int],
    oracle: Mapping[Stages, Stage[Any]] | None,
) -> Rung:
    """Plays one rung and counts; `broken` is left to who knows the floor.

    Args:
        scenario: what is played.
        tracks: at once.
        target: what is measured.
        callers: the load generator.
        idle: memory by process before the first call, bytes.
        oracle: all stages, to hear some calls again undisturbed; None for none.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time() + LEAD_S + LEAD_A_CALL_S * tracks / TRACKS_A_CALL
    calls = plan(scenario, tracks, target.url, begin, target.peer)
    seen = Watch()
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(callers.play(calls))
        tasks.create_task(_watch(seen, scenario, target, begin))
        for fault in scenario.faults:
            tasks.create_task(_kill(target, fault.stage, begin + fault.at_s))
    outcomes = playing.result()
    loss = await asyncio.to_thread(_loss, calls, outcomes, oracle, scenario.compared)
    return _figures(scenario, tracks, begin, calls, outcomes, seen, idle, loss)


async def _watch(seen: Watch, scenario: Scenario, target: Target, begin: float) -> None:
    loop = asyncio.get_running_loop()
    first = os.getloadavg()[0]
    await asyncio.sleep(begin + scenario.warm_up_s - loop.time())
    seen.before = spent(target.redis)
    while (left := begin + scenario.seconds - loop.time()) > 0:
        for name, held in resident(target.redis).items():
            seen.most_bytes[name] = max(held, seen.most_bytes.get(name, 0))
        await asyncio.sleep(min(1.0, left))
    seen.after = spent(target.redis)
    seen.load = (round(first, 2), round(os.getloadavg()[0], 2))


async def _kill(target: Target, stage: str, at: float) -> None:
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    assert target.pid is not None, "a target whose programs cannot be killed was given faults"
    pid = target.pid(stage if stage == "gateway" else f"{stage}-1")
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def _loss(
    calls: Sequence[Call], outcomes: Sequence[Outcome], oracle: Mapping[Stages, Stage[Any]] | None, compared: int
) -> Loss:
    untiled = tuple(f"call {one.number}: {one.untiled}" for one in outcomes if one.untiled)
    if oracle is None or compared == 0:
        return Loss(untiled)
    pairs = [(asked, one) for asked, one in zip(calls, outcomes, strict=True) if not one.refused]
    chosen = pairs[:: max(1, len(pairs) // compared)][:compared]
    total = Differences()
    for asked, one in chosen:
        sounds = [
            Sound(f"track {number}", side.sample_rate, side.spoken(0, side.length))
            for number, side in enumerate(asked.voices())
        ]
        total += differences(undisturbed(oracle, sounds), said(one))
    return Loss(untiled, len(chosen), total.words, total.lost, total.doubled, total.other)


def said(one: Outcome) -> list[str]:
    """The finals of a call, by track, plain."""
    return [plain_text(" ".join(text for _, _, text in finals)) for finals in one.finals]


def _figures(
    scenario: Scenario,
    tracks: int,
    begin: float,
    calls: Sequence[Call],
    outcomes: Sequence[Outcome],
    seen: Watch,
    idle: Mapping[str, int],
    loss: Loss,
) -> Rung:
    measures = [name for name in outcomes[0].measures if scenario.second_pass != "off" or name != "early"]
    steps = {name for one in outcomes for name in one.steps}
    lag = [
        (asked.begin - begin + at, value)
        for asked, one in zip(calls, outcomes, strict=True)
        for at, value in one.lag
        if asked.begin - begin + at <= scenario.seconds
    ]
    return Rung(
        tracks,
        len(calls),
        {name: Figures.of(value for one in outcomes for value in one.measures[name]) for name in measures},
        {
            name: Figures.of(value for one in outcomes for value in one.steps.get(name, ()))
            for name in ("queue", "features", "acoustic", "decoder", "back")
            if name in steps
        },
        lag_by_second(lag),
        lag_halves(lag, scenario.warm_up_s, scenario.seconds),
        round(max(one.pause for one in outcomes), 3),
        _words(outcomes),
        loss,
        _cost(scenario, begin, calls, outcomes, seen, idle),
        Counter(one.refused for one in outcomes if one.refused),
        sum(one.resumes for one in outcomes),
        Figures.of(value for one in outcomes for value in one.late),
        seen.load,
    )


def _words(outcomes: Sequence[Outcome]) -> Words | None:
    heard = [
        (str(one.number), right, text)
        for one in outcomes
        if not one.refused
        for right, text in zip(one.texts, said(one), strict=True)
        if right
    ]
    if not heard:
        return None
    callers, right, texts = (list(column) for column in zip(*heard, strict=True))
    low, high = interval(callers, right, texts)
    words = sum(len(text.split()) for text in right)
    return Words(round(100 * jiwer.wer(right, texts), 2), round(low, 2), round(high, 2), words)


def _cost(
    scenario: Scenario,
    begin: float,
    calls: Sequence[Call],
    outcomes: Sequence[Outcome],
    seen: Watch,
    idle: Mapping[str, int],
) -> Cost:
    assert seen.before is not None
    assert seen.after is not None
    cost = seen.after.since(seen.before)
    from_s, to_s = begin + scenario.warm_up_s, begin + scenario.seconds
    served = TRACKS_A_CALL * sum(
        max(0.0, min(to_s, asked.begin + asked.seconds) - max(from_s, asked.begin))
        for asked, one in zip(calls, outcomes, strict=True)
        if not one.refused
    )
    track_seconds = served or 1.0
    return Cost(
        round(served, 1),
        {name: round(1000 * cpu / track_seconds, 3) for name, cpu in cost.cpu_s.items() if cpu > 0},
        round(cost.commands / track_seconds, 1),
        round(cost.net_bytes / track_seconds),
        {name: round(held / MB, 1) for name, held in seen.most_bytes.items()},
        {name: round(held / MB, 1) for name, held in idle.items()},
        bool(scenario.faults),
    )
