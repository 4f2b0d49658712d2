"""``make load``: plays a scenario, rung by rung, until one does not hold; prints the capacity and writes a report.

python -m load_tests.ladder                        the short ladder
python -m load_tests.ladder capacity               a scenario of load_tests/scenarios/, or a TOML file of one's own
python -m load_tests.ladder --url ws://host/v1/stream --redis redis://host:6379/0
python -m load_tests.ladder --sherpa FOLDER        the same calls to sherpa-onnx's recogniser behind its protocol
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from load_tests.generator import generators
from load_tests.processes import resident
from load_tests.report import write_report
from load_tests.results import Result, Rung, broken
from load_tests.rung import Target, play
from load_tests.rungs import climb, console, machine, progress, table
from load_tests.scenario import Scenario, ScenarioError, read_scenario
from load_tests.sherpa import KINDS, sherpa_stack, why_not
from stenoflow.base.errors import StenoflowError
from stenoflow.bus.records import Stages
from stenoflow.runtime.stage import Stage
from stenoflow_cli.stages import all_stages
from stenoflow_cli.up import Stack, running_stack

OUT = Path("build/load")
BUNDLE = "en-small"


@contextlib.asynccontextmanager
async def stack_target(scenario: Scenario, bundle: str) -> AsyncIterator[Target]:
    """A stack of one's own, on this machine."""
    stack = Stack(port=0, bundle=bundle, second_pass=scenario.second_pass, workers=scenario.processes)
    async with running_stack(stack, console) as running:
        yield Target(running.stream_url, running.redis, running.supervisor.pid)


async def climb_all(
    scenario: Scenario, target: Target, system: str, oracle: Any | None, out: Sequence[Path] = ()
) -> Result:
    """Plays the rungs until one breaks; writes the report after each, so that what was measured is never lost."""
    rungs: list[Rung] = []
    before = machine()
    disturbed = bool(scenario.events)
    async with generators(scenario.ladder[-1]) as callers:
        idle = resident(target.redis)

        async def rung(tracks: int) -> bool:
            with progress() as bar:
                bar.add_task(f"{system}: {tracks} tracks, {scenario.seconds:.0f} s", total=None)
                played = await play(scenario, tracks, target, callers, idle, oracle)
            # The floor: the first rung. Chunk, look-ahead and the model's own delay are in it.
            floor_ms = (rungs[0] if rungs else played).measures["word"].p95
            rungs.append(msgspec.structs.replace(played, broken=broken(played, floor_ms, disturbed=disturbed)))
            for folder in out:
                write_report(folder, [_result(scenario, system, before, rungs)])
            _say(rungs[-1])
            return scenario.keep_climbing or not rungs[-1].broken

        await climb(scenario.ladder, rung)
    return _result(scenario, system, before, rungs)


def _result(scenario: Scenario, system: str, before: str, rungs: Sequence[Rung]) -> Result:
    held = list(itertools.takewhile(lambda rung: not rung.broken, rungs))
    return Result(
        scenario.title,
        system,
        before,
        scenario.seconds,
        scenario.warm_up_s,
        bool(scenario.events),
        held[-1].tracks if held else 0,
        len(held) < len(rungs),
        scenario.events,
        tuple(rungs),
    )


def _say(rung: Rung) -> None:
    word = rung.measures["word"]
    state = f"[red]broken[/]: {'; '.join(rung.broken)}" if rung.broken else "[green]held[/]"
    console.print(f"{rung.tracks:4} tracks: word p50 / p95 {word.p50:.0f} / {word.p95:.0f} ms, {state}")


def printed(result: Result) -> None:
    """The table and the capacity."""
    rows = table(
        f"{result.title} ({result.system})",
        *("tracks", "word p50/p95/p99 ms", "final p50/p95 ms", "chunk p50/p95 ms", "WER %", "lost, doubled"),
        *("CPU ms a track-second", "Redis ops", "refused", "late p99 ms"),
    )
    for rung in result.rungs:
        word, final, chunk = (rung.measures[name] for name in ("word", "final", "chunk"))
        costs = sorted(rung.cost.cpu_ms.items(), key=lambda item: -item[1])
        rows.add_row(
            str(rung.tracks),
            f"{word.p50:.0f}/{word.p95:.0f}/{word.p99:.0f}",
            f"{final.p50:.0f}/{final.p95:.0f}",
            f"{chunk.p50:.0f}/{chunk.p95:.0f}",
            "" if rung.words is None else f"{rung.words.wer:.1f}",
            f"{rung.loss.lost}, {rung.loss.doubled} of {rung.loss.words}",
            ", ".join(f"{name} {cost:.1f}" for name, cost in costs),
            f"{rung.cost.redis_commands:.0f}",
            str(sum(rung.refused.values())),
            f"{rung.late.p99:.0f}",
        )
    console.print(rows)
    most = "" if result.ended else " or more: the ladder ended before the system did"
    console.print(f"{result.system}: capacity [bold]{result.capacity}[/] tracks{most}")


async def run(options: argparse.Namespace, scenario: Scenario) -> list[Result]:
    """Plays what was asked for."""
    found: list[Result] = []
    if options.url:
        if scenario.faults:
            raise ScenarioError("faults need a stack of one's own: leave --url out, or take a scenario without them")
        found.append(await climb_all(scenario, Target(options.url, options.redis), options.url, None, [options.out]))
        return found
    oracle: dict[Stages, Stage[Any]] | None = None
    if scenario.compared and scenario.second_pass == "off":
        oracle = dict(all_stages(options.bundle))
    async with stack_target(scenario, options.bundle) as target:
        found.append(await climb_all(scenario, target, f"Stenoflow, {options.bundle}", oracle, [options.out]))
    if options.sherpa:
        if reason := why_not(options.sherpa):
            console.print(f"SKIPPED sherpa-onnx: {reason}")
        else:
            undisturbed = scenario.model_copy(update={"faults": (), "storms": ()})
            async with sherpa_stack(options.sherpa, options.sherpa_kind) as url:
                found.append(await climb_all(undisturbed, Target(url, peer="sherpa"), "sherpa-onnx", None))
            write_report(options.out, found)
    return found


def main() -> int:
    """Plays a scenario; 0 where its first rung is held, 1 where it is not, 2 where it cannot be played."""
    parser = argparse.ArgumentParser(
        "ladder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="?", type=Path, default=Path("short"), help="name or TOML file")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the report (default: {OUT})")
    parser.add_argument("--bundle", default=BUNDLE, help=f"the model (default: {BUNDLE})")
    parser.add_argument("--url", help="a running gateway, instead of a stack of one's own")
    parser.add_argument("--redis", default="", help="its Redis, for what it costs")
    parser.add_argument("--seconds", type=float, help="length of a rung, instead of the scenario's")
    parser.add_argument("--limit", type=int, help="rungs that are tried, for a quick look")
    parser.add_argument("--sherpa", type=Path, help="folder of a model in sherpa-onnx's layout: played on it too")
    parser.add_argument("--sherpa-kind", choices=KINDS, default=KINDS[0], help=f"its kind (default: {KINDS[0]})")
    options = parser.parse_args()
    try:
        scenario = read_scenario(options.scenario)
        changes = {"seconds": options.seconds} if options.seconds else {}
        scenario = Scenario.model_validate(
            scenario.model_dump() | changes | {"ladder": scenario.ladder[: options.limit]}
        )
        console.print(f"[dim]{machine()}[/]")
        results = asyncio.run(run(options, scenario))
    except (ValueError, StenoflowError) as error:
        print(error, file=sys.stderr)
        return 2
    for result in results:
        printed(result)
    console.print(f"report: {options.out / 'report.html'} and report.json")
    return 0 if results[0].capacity else 1


if __name__ == "__main__":
    raise SystemExit(main())
