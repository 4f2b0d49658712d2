"""The worker loop over the in-memory bus: takes, dies, drains, is refused, meets gaps; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import SessionId
from stenoflow.bus.claims import Claim
from stenoflow.bus.entry import Entry, EntryId
from stenoflow.bus.logs import LogKey, LogName, Outcome
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.records import SessionRecord, SessionState, Stages
from stenoflow.runtime.holdings import Held, Holdings
from stenoflow.runtime.look_back import LookBack
from stenoflow.runtime.loop import StuckStep, WorkerLoop
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow.runtime.places import FEATURES, Place
from tests.unit.runtime.echo import Call, Echo

LEASE_S = 0.3


class Worker:
    """A loop with its holdings, running as a task.

    Args:
        stage: what is run; an echo by default.
        place: where it stands.
        model: of the claims, where the stage has several.
        budget_s: for a stage that hears again, how long an entry may wait.
        stuck_s: the longest step.
        lease_s: after how long without renewal others may take over.
    """

    def __init__(
        self,
        bus: MemoryBus,
        name: str,
        stage: Any = None,
        places: int = 8,
        *,
        place: Place = FEATURES,
        model: str = "",
        budget_s: float | None = None,
        stuck_s: float = 60.0,
        lease_s: float = LEASE_S,
    ) -> None:
        self.stage = stage or Echo()
        clock = SystemClock()
        metrics = WorkerMetrics(place.stage.value, CollectorRegistry())
        self.holdings: Holdings[Any] = Holdings(
            self.stage,
            place,
            bus.claims(place.stage, name, model),
            bus.logs(),
            bus.records(),
            clock,
            metrics,
            places=places,
            lease_s=lease_s,
            renew_s=lease_s / 3,
        )
        self.metrics = metrics
        look_back = None if budget_s is None else LookBack(self.stage, bus.logs(), clock, budget_s)
        self.loop = WorkerLoop(self.stage, place, bus, clock, self.holdings, metrics, look_back, stuck_s=stuck_s)
        self.task = asyncio.create_task(self.loop.run())

    async def die(self) -> None:
        """No drain, no hand-over: as kill -9 would."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def stop_renewing(self) -> asyncio.Event:
        """Its leases run out, as while the whole process stands still, until the event is set."""
        renew, awake = self.holdings._claims.renew, asyncio.Event()

        async def held_up() -> Any:
            await awake.wait()
            return await renew()

        self.holdings._claims.renew = held_up  # type: ignore[method-assign]
        return awake

    async def drain(self) -> None:
        self.loop.drain()
        await asyncio.wait_for(self.task, 5)


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    yield MemoryBus(SystemClock(), lease_s=LEASE_S)


async def test_sound_goes_through_and_the_claim_ends_with_the_track(bus: MemoryBus) -> None:
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    for _ in range(5):
        await call.say(100)
    await call.say(0, end=True)
    assert await call.ended() == call.written
    while await bus.claims(Stages.FEATURES, "x").open_tracks():
        await asyncio.sleep(0.01)
    await worker.drain()


async def test_an_end_whose_writer_did_not_know_all_of_the_log_ends_the_track(bus: MemoryBus) -> None:
    """Its id is the largest, so it is never refused, also where sound came between its writer's look and its append."""
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    call.position = 40
    written, call.written = call.written, b""
    await call.say(0, end=True)
    assert await call.ended() == written
    while await bus.claims(Stages.FEATURES, "x").open_tracks():
        await asyncio.sleep(0.01)
    await worker.drain()


async def test_a_dead_workers_tracks_go_on_elsewhere(bus: MemoryBus) -> None:
    first = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    await first.die()
    second = Worker(bus, "b")
    await call.say(50)
    await call.say(0, end=True)
    assert await call.ended() == call.written
    assert second.stage.opened == [call.key]
    await second.drain()


async def test_a_drained_worker_hands_over_without_waiting_for_the_lease(bus: MemoryBus) -> None:
    first = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    await first.drain()
    assert len(await bus.claims(Stages.FEATURES, "b").take_over(8)) == 1


async def test_a_worker_that_sleeps_past_its_lease_and_wakes_does_no_harm(bus: MemoryBus) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def sleep_once() -> None:
        if not asleep.is_set():
            asleep.set()
            wake.wait(20)

    sleeper = Worker(bus, "a", Echo(before_step=sleep_once))
    call = Call(bus)
    await call.open()
    await call.say(100)
    while not asleep.is_set():
        await asyncio.sleep(0.01)
    awake = sleeper.stop_renewing()  # compute alone would not stop renewal
    other = Worker(bus, "b")
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    wake.set()
    awake.set()
    await call.say(60)
    await call.say(0, end=True)
    assert await call.ended() == call.written
    while sleeper.metrics.lost._value.get() == 0:
        await asyncio.sleep(0.01)
    await sleeper.drain()
    await other.drain()


async def test_a_gap_that_stays_breaks_the_session_loudly(bus: MemoryBus) -> None:
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    await call.say(100, skip=10)
    while (record := await bus.records().get(call.record.id)) is None or record.state is not SessionState.BROKEN:
        await asyncio.sleep(0.01)
    assert record.error is not None and record.error[0] == "log_gap"
    assert worker.metrics.audio_lost._value.get() == 10 / 16_000
    assert worker.metrics.sound._value.get() == 100 / 16_000
    await worker.drain()


async def test_a_full_server_delays_and_loses_nothing(bus: MemoryBus) -> None:
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    await call.say(40)
    bus.faults.full = True
    while worker.stage.steps < 2:
        await asyncio.sleep(0.01)
    bus.faults.full = False
    await call.say(40)
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await worker.drain()


async def test_a_full_server_is_emptied_of_what_is_done(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trims are all that frees memory: were they to wait for one more write, it would stay full."""

    async def no_memory(*_: object) -> None:
        raise BusUnavailable("no memory", code="bus_full")

    monkeypatch.setattr(bus.records(), "note_progress", no_memory)
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    for _ in range(4):
        await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 400)
    async with asyncio.timeout(10):
        while len(await bus.logs().entries(LogKey(call.key, LogName.AUDIO))) > 1:
            await asyncio.sleep(0.01)
    monkeypatch.undo()
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await worker.drain()


async def test_a_position_that_could_not_be_told_is_told_later(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's window follows it: where it is full, no more sound comes that would bring a newer one."""
    publish, failed = bus.logs().publish, asyncio.Event()

    async def fails_once(entries: Sequence[tuple[LogKey, Entry]]) -> Sequence[Outcome]:
        if not failed.is_set():
            failed.set()
            raise BusUnavailable("no answer")
        return await publish(entries)

    monkeypatch.setattr(bus.logs(), "publish", fails_once)
    worker = Worker(bus, "a", place=Place(Stages.DECODER, LogName.AUDIO, LogName.FEATURES))
    call = Call(bus)
    await call.open()
    await call.say(100)
    await failed.wait()
    async with asyncio.timeout(10):
        while (tail := await bus.logs().tail(LogKey(call.key, LogName.LIVE))) is None or tail.entry.end < 100:
            await asyncio.sleep(0.01)
    await worker.drain()


async def test_a_log_that_is_gone_is_dropped_and_not_made_again(bus: MemoryBus) -> None:
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    bus.lose(LogKey(call.key, LogName.FEATURES))
    await call.say(100)
    while len(worker.holdings):
        await asyncio.sleep(0.01)
    assert await bus.logs().tail(LogKey(call.key, LogName.FEATURES)) is None
    await worker.drain()


async def test_a_server_that_comes_back_with_its_data_goes_on(bus: MemoryBus) -> None:
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    bus.restart(empty=False)
    await call.say(50)
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await worker.drain()


async def test_a_rebuild_that_redis_interrupts_is_done_again(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that came back has lost the ends of two tracks, and does not answer while the first is rebuilt."""
    worker = Worker(bus, "a")
    calls = [Call(bus, 1), Call(bus, 2)]
    for call in calls:
        await call.open()
        await call.say(16)
        await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 16)
    rebuild, failed = worker.holdings.reopen, asyncio.Event()

    async def fails_once(held: Held[Any]) -> None:
        if not failed.is_set():
            failed.set()
            raise BusUnavailable("no answer")
        await rebuild(held)

    monkeypatch.setattr(worker.holdings, "reopen", fails_once)
    for call in calls:
        del bus.logs().store._state.logs[LogKey(call.key, LogName.FEATURES)][-1]
    bus.restart(empty=False)
    await failed.wait()
    for call in calls:
        await call.say(16)
        await call.say(0, end=True)
    for call in calls:
        assert await call.ended() == call.written
    await worker.drain()


async def test_what_waits_to_be_written_is_not_written_to_another_server(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover during an append took the end of the output; only the next command's link tells that it happened."""
    worker = Worker(bus, "a", lease_s=60)
    call = Call(bus)
    await call.open()
    await call.say(16)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 16)
    logs, claims = bus.logs(), worker.holdings._claims
    generation, append, renew = logs.generation, logs.append, claims.renew
    before = generation()
    seen = [before]

    async def fails_over(entries: Sequence[tuple[LogKey, EntryId, Entry]]) -> Sequence[Outcome]:
        if entries[0][0].name is LogName.FEATURES and generation() == before:
            del logs.store._state.logs[LogKey(call.key, LogName.FEATURES)][-1]
            bus.restart(empty=False)
            raise BusUnavailable("no answer")
        seen[0] = generation()
        return await append(entries)

    async def connects() -> Sequence[Claim]:
        seen[0] = generation()
        return await renew()

    monkeypatch.setattr(logs, "generation", lambda: seen[0])
    monkeypatch.setattr(logs, "append", fails_over)
    monkeypatch.setattr(claims, "renew", connects)
    await call.say(16)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 32)
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await worker.drain()


async def test_two_hundred_calls_keep_their_own_sound(bus: MemoryBus) -> None:
    workers = [Worker(bus, name, places=120) for name in "ab"]
    calls = [Call(bus, number) for number in range(200)]
    for call in calls:
        await call.open()
    for _ in range(3):
        for call in calls:
            await call.say(16)
    for call in calls:
        await call.say(0, end=True)
    for call in calls:
        assert await call.ended() == call.written
    for worker in workers:
        await worker.drain()


async def test_a_track_whose_opening_failed_is_opened_once_redis_answers(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is renewed with the others, so that nobody else may take it over."""
    worker = Worker(bus, "a")
    first, second = Call(bus, 1), Call(bus, 2)
    await first.open()
    await first.say(16)
    await first.echoed(until=lambda entries: bool(entries) and entries[-1].end == 16)
    get, failed = worker.holdings._records.get, asyncio.Event()

    async def fails_once(session: SessionId) -> SessionRecord | None:
        if session == second.record.id and not failed.is_set():
            failed.set()
            raise BusUnavailable("no answer")
        return await get(session)

    monkeypatch.setattr(worker.holdings._records, "get", fails_once)
    await second.open()
    await second.say(16)
    await second.say(0, end=True)
    await failed.wait()
    assert await second.ended() == second.written
    await worker.drain()


async def test_a_track_that_is_taken_but_never_told_of_is_worked_on(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a take was lost: the server counts the claim as this worker's, who does not know of it."""
    worker = Worker(bus, "a")
    first, second = Call(bus, 1), Call(bus, 2)
    await first.open()
    await first.say(16)
    await first.echoed(until=lambda entries: bool(entries) and entries[-1].end == 16)
    take, lost = worker.holdings._claims.take, asyncio.Event()

    async def loses_the_answer(places: int) -> Sequence[Claim]:
        if await take(places) and not lost.is_set():
            lost.set()
            raise BusUnavailable("no answer")
        return []

    monkeypatch.setattr(worker.holdings._claims, "take", loses_the_answer)
    await second.open()
    await second.say(16)
    await second.say(0, end=True)
    await lost.wait()
    assert await second.ended() == second.written
    await worker.drain()


async def test_places_are_never_exceeded(bus: MemoryBus) -> None:
    worker = Worker(bus, "a", places=3)
    calls = [Call(bus, number) for number in range(5)]
    for call in calls:
        await call.open()
        await call.say(16)
    while len(worker.holdings) < 3:
        await asyncio.sleep(0.01)
    await worker.loop._holdings.renew_if_stale()
    assert len(worker.holdings) == 3
    await worker.drain()


async def test_a_track_that_kills_worker_after_worker_is_given_up(bus: MemoryBus) -> None:
    def poison() -> None:
        raise ValueError("poison")

    call = Call(bus)
    await call.open()
    await call.say(100)
    for life in range(6):
        worker = Worker(bus, f"w{life}", Echo(before_step=poison))
        while not worker.task.done():
            record = await bus.records().get(call.record.id)
            if record is not None and record.state is SessionState.BROKEN:
                assert record.error is not None and record.error[0] == "poisoned_track"
                await worker.drain()
                return
            await asyncio.sleep(0.02)
        with pytest.raises(ValueError, match="poison"):
            await worker.task
    pytest.fail("the track was never given up")


async def test_a_silent_call_outlives_any_number_of_drains(bus: MemoryBus) -> None:
    """Its output does not move while its workers are replaced one after another; none of them died of it."""
    call = Call(bus)
    await call.open()
    await call.say(100)
    for life in range(8):
        worker = Worker(bus, f"w{life}")
        async with asyncio.timeout(10):
            while not len(worker.holdings):
                await asyncio.sleep(0.01)
        await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
        await worker.drain()
    last = Worker(bus, "last")
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await last.drain()


async def test_twice_the_load_for_a_minute_delays_and_hands_nothing_over(bus: MemoryBus) -> None:
    """Forty leases of a worker that gets sound twice as fast as its steps take it, beside one that would take over."""
    step_s = LEASE_S / 3
    busy = Worker(bus, "a", Echo(before_step=lambda: time.sleep(step_s)))
    calls = [Call(bus, number) for number in range(4)]
    for call in calls:
        await call.open()
    while len(busy.holdings) < len(calls):
        await asyncio.sleep(0.01)
    idle = Worker(bus, "b")
    began = time.monotonic()
    while time.monotonic() - began < 40 * LEASE_S:
        for call in calls:
            await call.say(16)
        await asyncio.sleep(step_s / 2)
    assert (busy.metrics.lost._value.get(), idle.metrics.takeovers._value.get()) == (0, 0)
    assert len(busy.holdings) == len(calls) and len(idle.holdings) == 0
    for call in calls:
        await call.say(0, end=True)
    for call in calls:
        assert await call.ended() == call.written
    await busy.drain()
    await idle.drain()


class Hangs(Echo):
    """Its steps wait until somebody lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def step(self, batch: Any) -> Any:
        self.let_go.wait()
        return super().step(batch)


async def test_a_step_that_hangs_ends_the_loop(bus: MemoryBus) -> None:
    stage = Hangs()
    worker = Worker(bus, "a", stage, stuck_s=0.05)
    call = Call(bus)
    await call.open()
    await call.say(100)
    try:
        with pytest.raises(StuckStep, match=r"took over 0\.05 s"):
            await asyncio.wait_for(worker.task, 30)
    finally:
        stage.let_go.set()


async def test_a_step_may_take_as_long_as_the_worker_was_told(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenoflow.runtime.loop.STUCK_S", 0.05)
    monkeypatch.setattr("stenoflow.runtime.loop.ALIVE_S", 0.05)
    stage = Hangs()
    worker = Worker(bus, "a", stage)
    call = Call(bus)
    await call.open()
    await call.say(100)
    await asyncio.sleep(0.3)
    assert worker.loop.alive() and not worker.task.done()
    stage.let_go.set()
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await worker.drain()


async def test_a_worker_whose_server_is_away_is_alive(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenoflow.runtime.loop.ALIVE_S", 0.5)
    worker = Worker(bus, "a")
    call = Call(bus)
    await call.open()
    await call.say(100)
    await call.echoed(until=lambda entries: bool(entries) and entries[-1].end == 100)
    bus.faults.unavailable = True
    await asyncio.sleep(1.0)
    assert worker.loop.alive()
    bus.faults.unavailable = False
    await call.say(0, end=True)
    assert await call.ended() == call.written
    await worker.drain()
