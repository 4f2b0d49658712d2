"""Who may begin: free places per stage, the bundle, and Redis' memory (DESIGN 4 and 8). Refuses early and clearly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stenoflow.base.clock import Clock
from stenoflow.base.errors import ClientError
from stenoflow.bus.claims import Claims
from stenoflow.bus.records import Opened, Records, Stages, WorkerStatus

RETRY_AFTER_MS = 2_000
"""When a refused client may ask again: calls end and workers start within seconds."""

FULL_FRACTION = 0.7
"""From here on of ``maxmemory`` no new call begins."""

WORKERS_S = 0.5
"""How long the list of workers is taken for the present one."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a session that begins will get.

    Args:
        bundle: the bundle's name.
        look_ahead_ms: what it waits for before it decides.
    """

    bundle: str
    look_ahead_ms: int


def places(workers: Sequence[WorkerStatus], stage: Stages) -> int:
    """Tracks that a stage may hold: from two workers on, less those of the largest, so that one may die."""
    each = [worker.places for worker in workers if worker.stage is stage]
    return sum(each) - (max(each) if len(each) > 1 else 0)


def missing(workers: Sequence[WorkerStatus]) -> list[Stages]:
    """Stages that no worker serves."""
    return [stage for stage in Stages if all(worker.stage is not stage for worker in workers)]


def served(workers: Sequence[WorkerStatus], wanted: str) -> Served:
    """The bundle that a session gets.

    Raises:
        ClientError: ``unknown_bundle``.
    """
    acoustic = [worker for worker in workers if worker.stage is Stages.ACOUSTIC]
    for worker in acoustic:
        name = re.split(r"[\s@:]", worker.bundle)[0]
        if wanted in ("", name):
            return Served(name or wanted, int(worker.details.get("look_ahead_ms", "0")))
    if not acoustic:
        return Served(wanted, 0)
    names = sorted({re.split(r"[\s@:]", worker.bundle)[0] for worker in acoustic})
    raise ClientError("unknown_bundle", f"the bundle asked for is not served; served are: {', '.join(names)}")


class Admission:
    """Says who may begin.

    Args:
        records: the worker registry.
        claims: per stage, for the number of open tracks.
        clock: time.
    """

    def __init__(self, records: Records, claims: Mapping[Stages, Claims], clock: Clock) -> None:
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

    async def admit(self, tracks: int, bundle: str) -> Served:
        """Whether a session may be opened, and with what.

        Raises:
            ClientError: ``no_workers``, ``at_capacity`` or ``unknown_bundle``.
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
        found = served(workers, bundle)
        counts = await asyncio.gather(*(self._claims[stage].open_tracks() for stage in Stages))
        for stage, count in zip(Stages, counts, strict=True):
            if count + tracks > places(workers, stage):
                raise _full(stage, count, places(workers, stage))
        return found

    async def bundle(self, name: str) -> Served:
        """What a session that goes on gets; it is not refused for want of places."""
        workers = await self.workers()
        try:
            return served(workers, name)
        except ClientError:
            return Served(name, 0)

    async def check(self, opened: Opened) -> None:
        """After the opening: several gateways may have admitted at one moment (DESIGN 4).

        Raises:
            ClientError: ``at_capacity``; the session must be ended at once.
        """
        workers = await self.workers()
        for stage, count in opened.open_tracks.items():
            if count > places(workers, stage):
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
