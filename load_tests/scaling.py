"""What 1,000, 10,000 and 100,000 tracks need, from measured costs.

python -m load_tests.scaling                         prints the tables of docs/scaling.md
python -m load_tests.scaling --write                 writes them into it
python -m load_tests.scaling --report report.json    a profile from a load test of one's own
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from docs.pages.tables import table

from load_tests.report import read_results
from load_tests.results import Rung
from load_tests.shards import CALL_S, balance, filling, on_masters
from stenoflow_gateway.admission import FULL_FRACTION

PROFILE = Path(__file__).with_name("profile.json")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
TRACKS = (1_000, 10_000, 100_000)
BUSY = 0.6
"""Of a core: beyond it waiting times grow faster than what is gained, and one of a pair may die."""
POLLING = 0.2
"""Of a Redis core's commands may look for claims; else a deployment is split into cells."""
POLLS_A_SECOND = 14
"""Commands a second with which each worker asks each shard for claims: it takes ten times, renews and takes over
twice (``runtime/holdings.py``: ``TAKE_S``, and a third of the lease)."""
MOST_SHARDS = 100
"""A shard has two digits in a session's name."""
KB, MB, GB = 1e3, 1e6, 1e9
CLIENT_KB = {"telephone, 8 kHz": 16.0, "browser, 48 kHz": 96.0}
"""Sound of a track, kB/s."""


class Profile(msgspec.Struct, frozen=True):
    """Measured costs of a track-second.

    Args:
        source: what was measured, where and when.
        cpu_ms: processor milliseconds by service: gateway, features, acoustic, decoder, redis.
        redis_commands: a track-second.
        redis_bytes: through Redis' sockets, both ways, a track-second.
        redis_kb: data in Redis, a track, at the busiest moment.
        gpu_tracks: that one GPU carries in the acoustic stage.
        gpu_measured: whether that was measured; else it is the design's goal.
    """

    source: str
    cpu_ms: Mapping[str, float]
    redis_commands: float
    redis_bytes: float
    redis_kb: float
    gpu_tracks: int
    gpu_measured: bool


class Needs(msgspec.Struct, frozen=True):
    """What so many tracks need; whole deployment where nothing else is said."""

    tracks: int
    cells: int
    shards_a_cell: int
    workers: Mapping[str, int]
    gpus: int
    redis_mb_s: float
    redis_gb: float
    polls: float
    commands: float


def needs(profile: Profile, tracks: int) -> Needs:
    """Workers, shards and cells for so many tracks.

    A worker is a process with one core of its own. A cell is a deployment with Redis shards and workers of its own:
    every worker asks every shard of its cell for claims, so cells must not grow without end.
    """
    workers = {
        name: max(2, math.ceil(tracks * cost / 1000 / BUSY)) for name, cost in profile.cpu_ms.items() if name != "redis"
    }
    commands_a_core = BUSY * 1000 * profile.redis_commands / profile.cpu_ms["redis"]
    asking = sum(count for name, count in workers.items() if name != "gateway")
    cells = max(1, math.ceil(asking * POLLS_A_SECOND / (POLLING * commands_a_core)))
    room = commands_a_core - asking / cells * POLLS_A_SECOND
    shards = max(1, math.ceil(tracks / cells * profile.redis_commands / room))
    return Needs(
        tracks,
        cells,
        shards,
        workers,
        max(2, math.ceil(tracks / profile.gpu_tracks)),
        tracks * profile.redis_bytes / MB,
        tracks * profile.redis_kb * KB / FULL_FRACTION / GB,
        asking / cells * POLLS_A_SECOND,
        tracks / cells / shards * profile.redis_commands,
    )


def profile_of(rung: Rung, source: str, gpu_tracks: int) -> Profile:
    """The costs of a rung; the second pass is not counted."""
    served = {
        name: round(rung.cost.cpu_ms[name], 2) for name in ("gateway", "features", "acoustic", "decoder", "redis")
    }
    grown = rung.cost.memory_mb["redis data"] - rung.cost.idle_mb["redis data"]
    return Profile(
        source,
        served,
        rung.cost.redis_commands,
        rung.cost.redis_bytes,
        round(1000 * grown / rung.tracks, 1),
        gpu_tracks,
        gpu_measured=False,
    )


def read_profile(path: Path = PROFILE) -> Profile:
    """Reads a profile."""
    return msgspec.json.decode(path.read_bytes(), type=Profile)


def blocks(profile: Profile) -> dict[str, str]:
    """The tables of docs/scaling.md by the names of their places."""
    found = [needs(profile, tracks) for tracks in TRACKS]
    return {"profile": _profile_table(profile), "needs": _needs_table(profile, found), "shards": _shards_table(found)}


def _profile_table(profile: Profile) -> str:
    rows = [(f"processor, {name}", f"{cost:g} ms a track-second") for name, cost in profile.cpu_ms.items()]
    rows += [
        ("Redis operations", f"{profile.redis_commands:g} a track-second"),
        ("through Redis' sockets", f"{profile.redis_bytes / KB:.0f} kB a track-second, both ways"),
        ("data in Redis", f"{profile.redis_kb:g} kB a track"),
        (
            "acoustic stage on a GPU",
            f"{profile.gpu_tracks:,} tracks" + ("" if profile.gpu_measured else " (the design's goal, not measured)"),
        ),
    ]
    return f"{profile.source}\n\n" + table(("cost", "measured"), rows)


def _needs_table(profile: Profile, found: Sequence[Needs]) -> str:
    def row(name: str, cells: Iterable[float], form: str = ",.0f") -> tuple[str, ...]:
        return (name, *(format(cell, form) for cell in cells))

    rows = [
        row("cells (deployments of their own)", (each.cells for each in found)),
        row("Redis masters (shards), each a core", (each.cells * each.shards_a_cell for each in found)),
        row("shards of a cell", (each.shards_a_cell for each in found)),
        *(
            row(f"{name} processes, each a core", (each.workers[name] for each in found))
            for name in profile.cpu_ms
            if name != "redis"
        ),
        row("or, for acoustic ones, GPUs", (each.gpus for each in found)),
        row(
            "cores in all, without GPUs",
            (sum(each.workers.values()) + each.cells * each.shards_a_cell for each in found),
        ),
        row("Redis memory, GB (as much again for replicas)", (each.redis_gb for each in found), ",.1f"),
        row("between services and Redis, MB/s", (each.redis_mb_s for each in found)),
        row("the same a shard", (each.redis_mb_s / each.cells / each.shards_a_cell for each in found)),
        *(
            row(f"from clients, {name}, MB/s", (each.tracks * kb * KB / MB for each in found))
            for name, kb in CLIENT_KB.items()
        ),
        row("commands a second and shard, of calls", (each.commands for each in found)),
        row("commands a second and shard, of workers that look for claims", (each.polls for each in found)),
    ]
    return table(("", *(f"{tracks:,} tracks" for tracks in TRACKS)), rows)


def _shards_table(found: Sequence[Needs]) -> str:
    rows = []
    for each in found:
        calls, shards = each.tracks // each.cells // 2, each.shards_a_cell
        filled = filling(calls, shards)
        rows.append(
            (
                f"{each.tracks:,}",
                f"{shards} ({calls:,} calls)",
                f"{100 * (balance(calls, shards) - 1):.0f} %",
                ", ".join(f"{100 * share:.0f} % after {minutes} min" for minutes, share in filled.items() if minutes),
                str(max(on_masters(min(shards, MOST_SHARDS), shards))),
            )
        )
    heads = (
        *("tracks", "shards of a cell", "fullest shard above the mean, at worst"),
        *("calls of a shard that is added, of the mean", "most shards on one master of a Redis Cluster of as many"),
    )
    return table(heads, rows) + f"\n\nCalls last {CALL_S / 60:g} minutes on the average; half an hour each, one seed."


def filled_in(page: str, made: Mapping[str, str]) -> str:
    """The page with its tables made anew, each between ``<!-- name -->`` and ``<!-- end -->``."""
    for name, text in made.items():
        begin, found, rest = page.partition(f"<!-- {name} -->\n")
        _, ended, after = rest.partition("\n<!-- end -->")
        assert found and ended, f"the page has no place for the table {name}"
        page = f"{begin}{found}{text}{ended}{after}"
    return page


def main() -> int:
    """Prints the tables, or writes them."""
    parser = argparse.ArgumentParser(
        "scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", type=Path, default=PROFILE, help=f"measured costs (default: {PROFILE.name})")
    parser.add_argument("--report", type=Path, help="report.json of a load test, instead: its last rung that was held")
    parser.add_argument("--gpu-tracks", type=int, default=1000, help="tracks a GPU (default: 1000, the design's goal)")
    parser.add_argument("--write", action="store_true", help="into docs/scaling.md; with --report the profile too")
    options = parser.parse_args()
    if options.report:
        result = read_results(options.report)[0]
        held = [rung for rung in result.rungs if not rung.broken]
        if not held:
            print(f"{options.report} has no rung that was held: nothing can be told from it", file=sys.stderr)
            return 2
        source = f"{result.title}, {held[-1].tracks} tracks; {result.machine}."
        profile = profile_of(held[-1], source, options.gpu_tracks)
        if options.write:
            PROFILE.write_bytes(msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")
    else:
        profile = read_profile(options.profile)
    made = blocks(profile)
    if options.write:
        PAGE.write_text(filled_in(PAGE.read_text("utf-8"), made), "utf-8")
    else:
        print("\n\n".join(made.values()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
