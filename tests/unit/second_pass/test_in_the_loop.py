"""The second pass in the worker loop: deaths, a queue that grows too long, sound that stays until it was heard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from tests.unit.runtime.echo import Call
from tests.unit.runtime.test_loop import LEASE_S
from tests.unit.runtime.test_loop import Worker as LoopWorker
from tests.unit.second_pass.fake import (
    VOCABULARY,
    FakeModel,
    audio,
    draft,
    emissions,
    id_of,
    over,
    said,
    stretch_sound,
)

from stenoflow.base.clock import SystemClock
from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import Entry
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import StageProgress, Stages
from stenoflow.protocol.messages import Final
from stenoflow.runtime.look_back import Stretch
from stenoflow.runtime.places import SECOND_PASS
from stenoflow_second_pass.models.base import Reading
from stenoflow_second_pass.stage import SecondPassStage

UTTERANCE = 8_000


def second_pass_worker(bus: MemoryBus, name: str, model: FakeModel, *, budget_s: float = 60.0) -> LoopWorker:
    """A second-pass worker as a task."""
    stage = SecondPassStage(model, VOCABULARY)
    return LoopWorker(bus, name, stage, places=64, place=SECOND_PASS, model="fake", budget_s=budget_s)


class DraftedCall:
    """A call whose drafts, sound and emissions are written as gateway, acoustic stage and decoder would."""

    def __init__(self, bus: MemoryBus, number: int = 0) -> None:
        self.bus = bus
        self.record = msgspec.structs.replace(Call(bus, number).record, second_pass="fake")
        self.key: TrackKey = self.record.track_keys()[0]
        self.utterances = 0
        self.marks = 0

    async def open(self) -> None:
        assert await self.bus.records().open(self.record, opening_entries(self.record)) is not None

    async def say(self, count: int = 1, *, end: bool = False) -> None:
        for _ in range(count):
            begin = self.utterances * UTTERANCE
            await self._append(LogName.AUDIO, audio(begin, begin + UTTERANCE, self.key))
            await self._append(LogName.EMISSIONS, emissions(begin, begin + UTTERANCE, "a", self.key))
            await self._append(LogName.DRAFTS, draft(begin, begin + UTTERANCE, "a", self.utterances, key=self.key))
            self.utterances += 1
        if end:
            await self._append(LogName.DRAFTS, over(self.utterances * UTTERANCE, self.key))

    async def _append(self, log: LogName, entry: Entry) -> None:
        entry = replace(entry, marks_before=self.marks if log is LogName.DRAFTS else 0)
        self.marks += len(entry.marks)
        await self.bus.logs().append([(LogKey(self.key, log), id_of(entry), entry)])

    async def finals(self, count: int | None = None) -> list[Final]:
        """The finals once the end (or ``count`` of them) is there; checked to tile."""
        for _ in range(1_000):
            found = [entry for _, entry in await self.bus.logs().entries(LogKey(self.key, LogName.FINALS))]
            said_ = [Final.model_validate_json(entry.data) for entry in found if entry.data]
            finals = [final for final in said_ if final.text]
            if (found and found[-1].ends) if count is None else len(finals) >= count:
                assert all(later.begin == earlier.end for earlier, later in pairwise(found[1:]))
                return finals
            await asyncio.sleep(0.01)
        raise AssertionError("no end within 10 s")

    def expected(self) -> list[tuple[int, str]]:
        spans = (Stretch(at * UTTERANCE, (at + 1) * UTTERANCE) for at in range(self.utterances))
        return [(number, said(stretch_sound(span))) for number, span in enumerate(spans)]


def texts(finals: Sequence[Final]) -> list[tuple[int, str]]:
    return [(final.utterance, final.text) for final in finals]


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    yield MemoryBus(SystemClock(), lease_s=LEASE_S)


async def test_each_utterance_is_heard_and_the_claim_ends_with_the_track(bus: MemoryBus) -> None:
    worker = second_pass_worker(bus, "a", FakeModel())
    call = DraftedCall(bus)
    await call.open()
    await call.say(5, end=True)
    finals = await call.finals()
    assert texts(finals) == call.expected()
    assert {final.pass_ for final in finals} == {2}
    while await bus.claims(Stages.SECOND_PASS, "x", "fake").open_tracks():
        await asyncio.sleep(0.01)
    await worker.drain()


async def test_ten_calls_whose_workers_die_lose_and_change_nothing(bus: MemoryBus) -> None:
    workers = [second_pass_worker(bus, name, FakeModel()) for name in "ab"]
    calls = [DraftedCall(bus, number) for number in range(10)]
    for call in calls:
        await call.open()
    for turn in range(6):
        for call in calls:
            await call.say(2)
        if turn in (1, 3):
            await workers[turn // 2].die()
            workers[turn // 2] = second_pass_worker(bus, f"again-{turn}", FakeModel())
        await calls[turn].finals(1)
    for call in calls:
        await call.say(1, end=True)
    for call in calls:
        finals = await call.finals()
        assert texts(finals) == call.expected()
        assert {final.pass_ for final in finals} == {2}
    for worker in workers:
        await worker.drain()


async def test_a_drained_worker_hands_over(bus: MemoryBus) -> None:
    first = second_pass_worker(bus, "a", FakeModel())
    call = DraftedCall(bus)
    await call.open()
    await call.say(2)
    await call.finals(2)
    await first.drain()
    assert len(await bus.claims(Stages.SECOND_PASS, "b", "fake").take_over(8)) == 1


async def test_a_queue_beyond_its_budget_lets_drafts_through_as_they_are(bus: MemoryBus) -> None:
    worker = second_pass_worker(bus, "a", FakeModel(), budget_s=0.0)
    call = DraftedCall(bus)
    await call.open()
    await call.say(20, end=True)
    finals = await call.finals()
    assert [final.utterance for final in finals] == list(range(20)), "none is lost, and none waits"
    assert {final.pass_ for final in finals} == {1, 2}, "what had its turn in time was heard"
    entries = [entry for _, entry in await bus.logs().entries(LogKey(call.key, LogName.FINALS)) if entry.data]
    for entry in entries:
        final = Final.model_validate_json(entry.data)
        assert ("unheard" in entry.carry) == (final.pass_ == 1 and bool(final.text))
    await worker.drain()


async def test_sound_stays_until_it_was_heard(bus: MemoryBus) -> None:
    """The features worker has long read it; the second pass has not come yet."""
    call = DraftedCall(bus)
    await call.open()
    features = LoopWorker(bus, "f")
    await call.say(4)
    progress: dict[Stages, StageProgress] = {}
    while progress.get(Stages.FEATURES, StageProgress(0, 0, 0)).position < 4 * UTTERANCE:
        progress = dict((await bus.records().progress([call.key]))[0])
        await asyncio.sleep(0.01)
    sound = await bus.logs().entries(LogKey(call.key, LogName.AUDIO))
    assert [entry.end for _, entry in sound if entry.spans] == [UTTERANCE * each for each in (1, 2, 3, 4)]
    worker = second_pass_worker(bus, "a", FakeModel())
    await call.finals(4)
    # Heard; with the next progress of the features worker it may go.
    noted = StageProgress(0, 0, 0)
    while noted.position < 4 * UTTERANCE:
        noted = (await bus.records().progress([call.key]))[0].get(Stages.SECOND_PASS, noted)
        await asyncio.sleep(0.01)
    await call.say(1)
    while (await bus.logs().entries(LogKey(call.key, LogName.AUDIO)))[0][1].end < 4 * UTTERANCE:
        await asyncio.sleep(0.01)
    await call.say(1, end=True)
    assert texts(await call.finals()) == call.expected()
    await worker.drain()
    await features.drain()


async def test_a_worker_that_sleeps_past_its_lease_and_wakes_does_no_harm(bus: MemoryBus) -> None:
    asleep, wake = threading.Event(), threading.Event()

    def sleep_once() -> None:
        if not asleep.is_set():
            asleep.set()
            wake.wait(20)

    sleeper = second_pass_worker(bus, "a", FakeModel(before=sleep_once))
    call = DraftedCall(bus)
    await call.open()
    await call.say(2)
    while not asleep.is_set():
        await asyncio.sleep(0.01)
    awake = sleeper.stop_renewing()
    other = second_pass_worker(bus, "b", FakeModel())
    await call.finals(2)
    wake.set()
    awake.set()
    await call.say(3, end=True)
    assert texts(await call.finals()) == call.expected()
    while sleeper.metrics.lost._value.get() == 0:
        await asyncio.sleep(0.01)
    await sleeper.drain()
    await other.drain()


async def test_a_full_server_delays_and_loses_nothing(bus: MemoryBus) -> None:
    model = FakeModel()
    worker = second_pass_worker(bus, "a", model)
    call = DraftedCall(bus)
    await call.open()
    await call.say(1)
    await call.finals(1)
    await call.say(2)
    bus.faults.full = True
    while len(model.heard) < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert len(await call.finals(1)) >= 1
    bus.faults.full = False
    await call.say(1, end=True)
    assert texts(await call.finals()) == call.expected()
    await worker.drain()


async def test_a_server_that_comes_back_with_its_data_goes_on(bus: MemoryBus) -> None:
    worker = second_pass_worker(bus, "a", FakeModel())
    call = DraftedCall(bus)
    await call.open()
    await call.say(2)
    await call.finals(1)
    bus.restart(empty=False)
    await call.say(2, end=True)
    assert texts(await call.finals()) == call.expected()
    await worker.drain()


async def test_what_another_worker_wrote_stands(bus: MemoryBus) -> None:
    """Two writers: the final that is in the log is the truth, and the second one goes on behind it."""
    slow = second_pass_worker(bus, "a", FakeModel(answer=lambda sound: Reading("Late words.", -0.1, 2, True)))
    call = DraftedCall(bus)
    await call.open()
    while not len(slow.holdings):
        await asyncio.sleep(0.01)
    key = LogKey(call.key, LogName.FINALS)
    tail = await bus.logs().tail(key)
    assert tail is not None
    other = draft(0, UTTERANCE, "Other words.", 0, key=call.key)
    await bus.logs().append_finals([(key, tail.id, [(id_of(other), other)])])
    await call.say(3, end=True)
    assert [final.text for final in await call.finals()] == ["Other words.", "Late words.", "Late words."]
    assert slow.metrics.refused._value.get() == 1
    await slow.drain()
