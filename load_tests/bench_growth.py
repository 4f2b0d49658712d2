"""What a track costs at 1, 10, 50, 100 and 200 % of capacity: what grows faster than the load is a defect.

python -m load_tests.bench_growth --capacity 80
python -m load_tests.bench_growth --report build/load/report.json
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from load_tests.ladder import BUNDLE, OUT, climb_all, stack_target
from load_tests.report import read_results
from load_tests.results import Result, Rung
from load_tests.rungs import console, machine, table
from load_tests.scenario import TRACKS_A_CALL, Scenario

SHARES = (0.01, 0.1, 0.5, 1.0, 2.0)
SECONDS = 60.0
WARM_UP_S = 10.0
DEFECT = 1.25
"""A track may cost so many times what it did at the rung below; more is told."""
PROCESSES = ("gateway", "features", "acoustic", "decoder", "redis")


def growth_ladder(capacity: int) -> tuple[int, ...]:
    """Tracks at each share of a capacity: whole calls, each once."""
    calls = {max(1, round(share * capacity / TRACKS_A_CALL)) for share in SHARES}
    return tuple(TRACKS_A_CALL * count for count in sorted(calls))


def kb_a_track(rung: Rung, name: str) -> float:
    """What a process's memory grew by over its idle state, kB a track that was served."""
    served = rung.tracks - TRACKS_A_CALL * sum(rung.refused.values())
    grown = rung.cost.memory_mb.get(name, 0.0) - rung.cost.idle_mb.get(name, 0.0)
    return 1000 * max(0.0, grown) / max(1, served)


def grown(rungs: Sequence[Rung]) -> list[str]:
    """Costs of a track that rose with the load, in sentences."""
    found = []
    for below, above in pairwise(rungs):
        for name in PROCESSES:
            before, after = below.cost.cpu_ms.get(name, 0.0), above.cost.cpu_ms.get(name, 0.0)
            if before and after > DEFECT * before:
                found.append(
                    f"{name}: {before:.1f} ms a track-second at {below.tracks} tracks, {after:.1f} at {above.tracks}"
                )
    return found


def printed(result: Result, capacity: int) -> None:
    """The table, and what grew."""
    rows = table(
        f"Costs of a track-second over load, en-small, one pass; capacity {capacity} tracks",
        *("% of capacity", "tracks", *(f"{name} ms" for name in PROCESSES), "load generator ms"),
        *("Redis ops", "kB through Redis", "kB in Redis a track", "worker kB a track", "word p95 ms", "refused calls"),
    )
    for rung in result.rungs:
        cost = rung.cost
        rows.add_row(
            f"{100 * rung.tracks / capacity:.0f}",
            str(rung.tracks),
            *(f"{cost.cpu_ms.get(name, 0):.1f}" for name in PROCESSES),
            f"{cost.cpu_ms.get('load', 0):.1f}",
            f"{cost.redis_commands:.0f}",
            f"{cost.redis_bytes / 1000:.0f}",
            f"{kb_a_track(rung, 'redis data'):.0f}",
            f"{sum(kb_a_track(rung, name) for name in PROCESSES if name != 'redis'):.0f}",
            f"{rung.measures['word'].p95:.0f}",
            ", ".join(f"{count} {code}" for code, count in rung.refused.items()) or "0",
        )
    console.print(rows)
    for sentence in grown(result.rungs):
        console.print(f"[yellow]grows faster than the load[/] {sentence}")


async def growth(capacity: int, seconds: float, out: Path) -> Result:
    """Plays the shares of a capacity, all of them, whatever breaks."""
    scenario = Scenario(
        title=f"Costs at 1, 10, 50, 100 and 200 % of {capacity} tracks",
        ladder=growth_ladder(capacity),
        seconds=seconds,
        warm_up_s=min(WARM_UP_S, seconds / 4),
        compared=0,
        keep_climbing=True,
    )
    async with stack_target(scenario, BUNDLE) as target:
        return await climb_all(scenario, target, f"Stenoflow, {BUNDLE}", None, [out])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        "bench_growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument("--capacity", type=int, help="tracks that are 100 %%")
    known.add_argument("--report", type=Path, help="report.json of `make load`, which says it")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of a rung (default: {SECONDS:.0f})")
    parser.add_argument("--out", type=Path, default=OUT.with_name("growth"), help="folder of the report")
    options = parser.parse_args()
    capacity = options.capacity or read_results(options.report)[0].capacity
    if capacity < TRACKS_A_CALL:
        parser.error("the capacity is less than one call: there is nothing to take a share of")
    console.print(f"[dim]{machine()}[/]")
    printed(asyncio.run(growth(capacity, options.seconds, options.out)), capacity)
    console.print(f"report: {options.out / 'report.html'}")


if __name__ == "__main__":
    main()
