"""Who may begin: free places per stage, the bundle, and Redis' memory (DESIGN 4 and 8). Refuses early and clearly."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stenoflow.base.clock import Clock
from stenoflow.base.errors import ClientError
from stenoflow.bus.claims import Claims
from stenoflow.bus.records import NEEDED, Opened, Records, SessionRecord, Stages, WorkerStatus

RETRY_AFTER_MS = 2_000
"""When a refused client may ask again: calls end and workers start within seconds."""

FULL_FRACTION = 0.7
"""From here on of ``maxmemory`` no new call begins."""

NO_SECOND_PASS = "off"
"""What a client asks for that wants none."""

WORKERS_S = 0.5
"""How long the list of workers is taken for the present one."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a session that begins will get.

    Args:
        bundle: the bundle's name.
        look_ahead_ms: what it waits for before it decides.
        second_pass: the model that hears each utterance again; empty for none.
    """

    bundle: str
    look_ahead_ms: int
    second_pass: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Tracks that could begin now.

    Args:
        tracks: that would be admitted.
        stages: free places of each stage that a session needs.
        bundles: of each bundle that is served, how many tracks would be admitted with it.
        second_passes: of each model, how many tracks would get it; the others go without.
    """

    tracks: int
    stages: Mapping[Stages, int]
    bundles: Mapping[str, int]
    second_passes: Mapping[str, int]

    @property
    def calls(self) -> int:
        """Calls of two tracks, which is what most are."""
        return self.tracks // 2

    def as_json(self) -> dict[str, Any]:
        """As ``/v1/capacity`` tells it."""
        return {"calls": self.calls, **dataclasses.asdict(self)}


def places(workers: Sequence[WorkerStatus], stage: Stages, model: str = "") -> int:
    """Tracks that a stage may hold: from two workers on, less those of the largest, so that one may die."""
    each = [worker.places for worker in workers if worker.stage is stage and (not model or _model(worker) == model)]
    return sum(each) - (max(each) if len(each) > 1 else 0)


def missing(workers: Sequence[WorkerStatus]) -> list[Stages]:
    """Stages that every session needs and no worker serves."""
    return [stage for stage in NEEDED if all(worker.stage is not stage for worker in workers)]


def served(workers: Sequence[WorkerStatus], wanted: str) -> Served:
    """The bundle that a session gets.

    Raises:
        ClientError: ``unknown_bundle``.
    """
    acoustic = [worker for worker in workers if worker.stage is Stages.ACOUSTIC]
    for worker in acoustic:
        name = _model(worker)
        if wanted in ("", name):
            return Served(name or wanted, int(worker.details.get("look_ahead_ms", "0")))
    if not acoustic:
        return Served(wanted, 0)
    names = ", ".join(bundles(workers))
    raise ClientError("unknown_bundle", f"the bundle asked for is not served; served are: {names}")


def second_pass(workers: Sequence[WorkerStatus], wanted: str | None) -> str:
    """The second pass that a session gets, by name: the one asked for, ``off`` for none, else whichever is served.

    Raises:
        ClientError: ``unknown_second_pass``.
    """
    names = second_passes(workers)
    if wanted is None:
        return names[0] if names else ""
    if wanted == NO_SECOND_PASS or wanted in names:
        return "" if wanted == NO_SECOND_PASS else wanted
    sentence = f"the second pass asked for is not served; served are: {', '.join(names) or 'none'}; or ask for 'off'"
    raise ClientError("unknown_second_pass", sentence)


def bundles(workers: Sequence[WorkerStatus]) -> list[str]:
    """The bundles that are served, by name."""
    return sorted({_model(worker) for worker in workers if worker.stage is Stages.ACOUSTIC})


def second_passes(workers: Sequence[WorkerStatus]) -> list[str]:
    """The second passes that are served, by name."""
    return sorted({_model(worker) for worker in workers if worker.stage is Stages.SECOND_PASS})


def _model(worker: WorkerStatus) -> str:
    """The name in front of a worker's ``name@hash``."""
    return re.split(r"[\s@]", worker.bundle)[0]


class Admission:
    """Says who may begin.

    Args:
        records: the worker registry.
        claims: of a stage (and a model), for the number of open tracks.
        clock: time.
    """

    def __init__(self, records: Records, claims: Callable[[Stages, str], Claims], clock: Clock) -> None:
        self._records = records
        self._claims = claims
        self._clock = clock
        self._workers: Sequence[WorkerStatus] = ()
        self._workers_at = float("-inf")
        self.memory_fraction = 0.0

    async def workers(self) -> Sequence[WorkerStatus]:
        """All workers that live.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        now = self._clock.monotonic()
        if now - self._workers_at > WORKERS_S:
            self._workers = await self._records.workers(self._clock.wall_ms())
            self._workers_at = now
        return self._workers

    async def admit(self, record: SessionRecord) -> Served:
        """Whether a session may be opened, and with what. For want of places it does without a second pass.

        Raises:
            ClientError: ``no_workers``, ``at_capacity``, ``unknown_bundle`` or ``unknown_second_pass``.
            BusUnavailable: Redis does not answer.
        """
        if self.memory_fraction >= FULL_FRACTION:
            raise _at_capacity(f"Redis has used {self.memory_fraction:.0%} of its memory")
        workers = await self.workers()
        lacking = missing(workers)
        if lacking:
            raise ClientError(
                "no_workers",
                f"no worker serves: {', '.join(lacking)}; start one, or try again in {RETRY_AFTER_MS // 1000} s",
                retryable=True,
                retry_after_ms=RETRY_AFTER_MS,
            )
        found = served(workers, record.bundle)
        again = second_pass(workers, record.settings.get("second_pass"))
        tracks = len(record.tracks)
        counts = await asyncio.gather(*(self._claims(stage, "").open_tracks() for stage in NEEDED))
        for stage, count in zip(NEEDED, counts, strict=True):
            if count + tracks > places(workers, stage):
                raise _full(stage, count, places(workers, stage))
        if again:
            count = await self._claims(Stages.SECOND_PASS, again).open_tracks()
            if count + tracks > places(workers, Stages.SECOND_PASS, again):
                again = ""
        return dataclasses.replace(found, second_pass=again)

    async def room(self) -> Room:
        """How many more tracks would be admitted now.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        workers = await self.workers()
        counts = await asyncio.gather(*(self._claims(stage, "").open_tracks() for stage in NEEDED))
        free = {stage: max(0, places(workers, stage) - count) for stage, count in zip(NEEDED, counts, strict=True)}
        again: dict[str, int] = {}
        for model in second_passes(workers):
            count = await self._claims(Stages.SECOND_PASS, model).open_tracks()
            again[model] = max(0, places(workers, Stages.SECOND_PASS, model) - count)
        tracks = 0 if self.memory_fraction >= FULL_FRACTION else min(free.values())
        return Room(tracks, free, dict.fromkeys(bundles(workers), tracks), again)

    async def going_on(self, record: SessionRecord) -> Served:
        """What a session that goes on gets; it is not refused for want of places."""
        workers = await self.workers()
        try:
            found = served(workers, record.bundle)
        except ClientError:
            found = Served(record.bundle, 0)
        try:
            return dataclasses.replace(found, second_pass=second_pass(workers, record.settings.get("second_pass")))
        except ClientError:
            return found

    async def check(self, opened: Opened) -> None:
        """After the opening: several gateways may have admitted at one moment (DESIGN 4).

        Raises:
            ClientError: ``at_capacity``; the session must be ended at once.
        """
        workers = await self.workers()
        for stage, count in opened.open_tracks.items():
            if stage in NEEDED and count > places(workers, stage):
                raise _full(stage, count, places(workers, stage))


def _full(stage: Stages, open_tracks: int, limit: int) -> ClientError:
    return _at_capacity(f"{open_tracks} tracks are open and the {stage} stage takes {limit}")


def _at_capacity(why: str) -> ClientError:
    return ClientError(
        "at_capacity",
        f"no place for another call now: {why}; try again in {RETRY_AFTER_MS // 1000} s",
        retryable=True,
        retry_after_ms=RETRY_AFTER_MS,
    )
