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
from stenoflow.bus.records import NEEDED, OF_A_BUNDLE, Opened, Records, SessionRecord, Stages, WorkerStatus

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
        features: what the bundle hears; see :func:`stenoflow.bundle.card.asked`.
    """

    bundle: str
    look_ahead_ms: int
    second_pass: str = ""
    features: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Tracks that could begin now.

    Args:
        tracks: that would be admitted, with the bundle that has most room.
        stages: free places of each stage that a session needs, with that bundle.
        bundles: of each bundle, how many tracks would be admitted with it.
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


def bundles(workers: Sequence[WorkerStatus]) -> list[str]:
    """The bundles that are served, by name: those for which each stage of a bundle has a worker."""
    names = ({_model(worker) for worker in workers if worker.stage is stage} for stage in OF_A_BUNDLE)
    return sorted(set.intersection(*names))


def served(workers: Sequence[WorkerStatus], wanted: str, usual: str = "") -> Served:
    """The bundle that a session gets.

    Args:
        workers: that live.
        wanted: the bundle asked for; empty for whichever.
        usual: the one that those get who ask for none, if it is served; else they get the first by name.

    Raises:
        ClientError: ``unknown_bundle``, or ``no_workers`` where no bundle has workers of all its stages.
    """
    names = bundles(workers)
    if not names:
        there = sorted({f"{worker.stage} of {_model(worker)}" for worker in workers if worker.stage in OF_A_BUNDLE})
        raise _no_workers(f"acoustic and decoder of one bundle (there are: {', '.join(there) or 'none'})")
    name = wanted or (usual if usual in names else names[0])
    if name not in names:
        raise ClientError("unknown_bundle", f"the bundle asked for is not served; served are: {', '.join(names)}")
    worker = next(each for each in workers if each.stage is Stages.ACOUSTIC and _model(each) == name)
    return Served(name, int(worker.details.get("look_ahead_ms", "0")), features=worker.details.get("features", ""))


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
        usual: the bundle of calls that name none, where it is served.
    """

    def __init__(
        self, records: Records, claims: Callable[[Stages, str], Claims], clock: Clock, usual: str = ""
    ) -> None:
        self._records = records
        self._usual = usual
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
            raise _no_workers(", ".join(lacking))
        found = served(workers, record.bundle, self._usual)
        again = second_pass(workers, record.settings.get("second_pass"))
        tracks = len(record.tracks)
        models = [_of_bundle(stage, found.bundle) for stage in NEEDED]
        counts = await asyncio.gather(*(self._claims(*each).open_tracks() for each in models))
        for (stage, model), count in zip(models, counts, strict=True):
            if count + tracks > places(workers, stage, model):
                raise _full(stage, count, places(workers, stage, model))
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
        free: dict[str, dict[Stages, int]] = {}
        for name in bundles(workers):
            models = [_of_bundle(stage, name) for stage in NEEDED]
            counts = await asyncio.gather(*(self._claims(*each).open_tracks() for each in models))
            free[name] = {
                stage: max(0, places(workers, stage, model) - count)
                for (stage, model), count in zip(models, counts, strict=True)
            }
        again: dict[str, int] = {}
        for model in second_passes(workers):
            count = await self._claims(Stages.SECOND_PASS, model).open_tracks()
            again[model] = max(0, places(workers, Stages.SECOND_PASS, model) - count)
        full = self.memory_fraction >= FULL_FRACTION
        tracks = {name: 0 if full else min(stages.values()) for name, stages in free.items()}
        most = max(free, key=lambda name: tracks[name], default="")
        return Room(tracks.get(most, 0), free.get(most, dict.fromkeys(NEEDED, 0)), tracks, again)

    async def going_on(self, record: SessionRecord) -> Served:
        """What a session that goes on gets; it is not refused for want of places."""
        workers = await self.workers()
        try:
            found = served(workers, record.bundle, self._usual)
        except ClientError:
            found = Served(record.bundle, 0, features=record.features)
        try:
            return dataclasses.replace(found, second_pass=second_pass(workers, record.settings.get("second_pass")))
        except ClientError:
            return found

    async def check(self, record: SessionRecord, opened: Opened) -> None:
        """After the opening: several gateways may have admitted at one moment (DESIGN 4).

        Raises:
            ClientError: ``at_capacity``; the session must be ended at once.
        """
        workers = await self.workers()
        for stage, count in opened.open_tracks.items():
            limit = places(workers, *_of_bundle(stage, record.bundle))
            if stage in NEEDED and count > limit:
                raise _full(stage, count, limit)


def _of_bundle(stage: Stages, bundle: str) -> tuple[Stages, str]:
    """A stage, and of which bundle the workers are that may have a session's tracks; empty for all of them."""
    return stage, bundle if stage in OF_A_BUNDLE else ""


def _no_workers(lacking: str) -> ClientError:
    return ClientError(
        "no_workers",
        f"no worker serves: {lacking}; start one, or try again in {RETRY_AFTER_MS // 1000} s",
        retryable=True,
        retry_after_ms=RETRY_AFTER_MS,
    )


def _full(stage: Stages, open_tracks: int, limit: int) -> ClientError:
    return _at_capacity(f"{open_tracks} tracks are open and the {stage} stage takes {limit}")


def _at_capacity(why: str) -> ClientError:
    return ClientError(
        "at_capacity",
        f"no place for another call now: {why}; try again in {RETRY_AFTER_MS // 1000} s",
        retryable=True,
        retry_after_ms=RETRY_AFTER_MS,
    )
