"""The figures of a rung, of a whole load test, and what a rung must keep. Pure; MEASURING's names and units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from load_tests.rungs import WORD_PROMISE_S
from load_tests.speakers import percentile

LAG_GROWTH_S = 0.5
LONGEST_PAUSE_S = 3.0
"""What may die must be replaced, and captions go on, within this (DESIGN 8)."""


class Figures(msgspec.Struct, frozen=True):
    """One measure, milliseconds; all zero where nothing was measured."""

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    largest: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Figures:
        """Of measured seconds."""
        found = sorted(seconds)
        if not found:
            return cls()
        p50, p95, p99 = (round(1000 * percentile(found, share), 1) for share in (0.5, 0.95, 0.99))
        return cls(len(found), p50, p95, p99, round(1000 * found[-1], 1))


class Words(msgspec.Struct, frozen=True):
    """Word error rate of what came back, per cent, with its 95 % interval by call; and words of the reference."""

    wer: float
    low: float
    high: float
    words: int


class Loss(msgspec.Struct, frozen=True):
    """What was lost or doubled.

    Args:
        untiled: sentences, one a call whose finals do not tile.
        compared: calls that were heard again undisturbed.
        words: of those, undisturbed.
        lost: words that are missing.
        doubled: words that are too many.
        other: words that stand where another stood.
    """

    untiled: tuple[str, ...] = ()
    compared: int = 0
    words: int = 0
    lost: int = 0
    doubled: int = 0
    other: int = 0


class Cost(msgspec.Struct, frozen=True):
    """What a track-second took, after the warm-up.

    Args:
        track_seconds: that were served.
        cpu_ms: processor milliseconds a track-second by process; ``load`` is the generator's own.
        redis_commands: a track-second.
        redis_bytes: through Redis' sockets, a track-second, both ways.
        memory_mb: most in memory, by process, and ``redis data``; whole, not a track.
        idle_mb: the same before the first call.
        killed: whether a process was killed meanwhile, whose time is then missing.
    """

    track_seconds: float
    cpu_ms: Mapping[str, float]
    redis_commands: float
    redis_bytes: float
    memory_mb: Mapping[str, float]
    idle_mb: Mapping[str, float]
    killed: bool = False


class Rung(msgspec.Struct, frozen=True):
    """All figures of one rung.

    Args:
        tracks: at once.
        calls: that were made.
        measures: by MEASURING's names.
        steps: where captions spent their time, as the gateway tells it.
        lag: second of the rung; median and largest lag of all calls in that second, seconds.
        lag_halves_s: 95th percentile of the lag in the first and in the second half, after the warm-up.
        pause_s: the longest time in which a call's captions covered no new sound.
        words: None where nothing was said.
        refused: calls by the code of the error that ended them.
        resumes: in all.
        late: how much later than due the generator sent, for want of processor time.
        load: the machine's load average before and after.
        broken: why the rung is not held; empty where it is.
    """

    tracks: int
    calls: int
    measures: Mapping[str, Figures]
    steps: Mapping[str, Figures]
    lag: tuple[tuple[int, float, float], ...]
    lag_halves_s: tuple[float, float]
    pause_s: float
    words: Words | None
    loss: Loss
    cost: Cost
    refused: Mapping[str, int]
    resumes: int
    late: Figures
    load: tuple[float, float]
    broken: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """A whole load test, as ``report.json`` holds it.

    Args:
        title: of the scenario.
        system: what was measured.
        machine: on which, and its load.
        seconds: of a rung.
        warm_up_s: of it.
        disturbed: whether sockets were cut or processes killed.
        capacity: tracks of the last rung that is held.
        ended: whether a rung did break; without that the capacity is at least this.
        events: second of each rung, and what was done to it then.
        rungs: in order.
    """

    title: str
    system: str
    machine: str
    seconds: float
    warm_up_s: float
    disturbed: bool
    capacity: int
    ended: bool
    events: tuple[tuple[float, str], ...]
    rungs: tuple[Rung, ...]


def broken(rung: Rung, floor_ms: float, *, disturbed: bool) -> tuple[str, ...]:
    """Why a rung is not held, in words; empty where it is.

    Args:
        rung: that was played.
        floor_ms: p95 of ``word`` in the first rung.
        disturbed: sockets were cut or processes killed: captions may then wait, but not for long, and nothing is lost.
    """
    word = rung.measures["word"]
    found = []
    if word.count == 0:
        found.append("no word came back")
    limit = floor_ms + 1000 * WORD_PROMISE_S
    if not disturbed and word.p95 > limit:
        found.append(f"p95 of word is {word.p95:.0f} ms, more than {limit:.0f}")
    first, second = rung.lag_halves_s
    if not disturbed and second - first > LAG_GROWTH_S:
        found.append(f"lag grows: p95 {first:.1f} s in the first half, {second:.1f} s in the second")
    if disturbed and rung.pause_s > LONGEST_PAUSE_S:
        found.append(f"captions stood still for {rung.pause_s:.1f} s, more than {LONGEST_PAUSE_S:.0f}")
    if rung.refused:
        found.append("refused: " + ", ".join(f"{count} with {code}" for code, count in rung.refused.items()))
    if rung.loss.untiled:
        found.append(f"{len(rung.loss.untiled)} calls whose finals do not tile: {rung.loss.untiled[0]}")
    if rung.loss.lost or rung.loss.doubled:
        found.append(f"words against the undisturbed run: {rung.loss.lost} lost, {rung.loss.doubled} doubled")
    return tuple(found)


def lag_by_second(samples: Sequence[tuple[float, float]]) -> tuple[tuple[int, float, float], ...]:
    """Median and largest lag of each second that has one.

    Args:
        samples: second of the rung, and a lag, seconds.
    """
    by_second: dict[int, list[float]] = {}
    for at, lag in samples:
        by_second.setdefault(int(at), []).append(lag)
    return tuple(
        (second, round(percentile(found, 0.5), 3), round(max(found), 3)) for second, found in sorted(by_second.items())
    )


def lag_halves(samples: Sequence[tuple[float, float]], begin: float, end: float) -> tuple[float, float]:
    """95th percentile of the lag in the first and in the second half; 0 where there is none."""
    middle = (begin + end) / 2
    first = [lag for at, lag in samples if begin <= at < middle]
    second = [lag for at, lag in samples if middle <= at <= end]
    return (percentile(first, 0.95) if first else 0.0, percentile(second, 0.95) if second else 0.0)
