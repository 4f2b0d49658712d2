"""Calls whose second pass has died: drafts become final as they are, and a worker that comes back goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.second_pass.fake import FakeModel
from tests.unit.second_pass.test_in_the_loop import LEASE_S, DraftedCall, second_pass_worker

from stenoflow.base.clock import SystemClock
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.records import Stages, WorkerStatus
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow_gateway import let_through
from stenoflow_gateway.admission import Admission
from stenoflow_gateway.let_through import LetThrough

STATUS = WorkerStatus("w", Stages.SECOND_PASS, 8, 0, "fake")


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryBus]:
    monkeypatch.setattr(let_through, "LOOK_S", 0.02)
    monkeypatch.setattr("stenoflow_gateway.admission.WORKERS_S", 0.0)
    yield MemoryBus(SystemClock(), lease_s=LEASE_S)


async def test_drafts_stand_while_no_second_pass_lives(bus: MemoryBus) -> None:
    clock, records = SystemClock(), bus.records()
    admission = Admission(records, lambda stage, model: bus.claims(stage, "g", model), clock)
    metrics = WorkerMetrics("second_pass", CollectorRegistry())
    passing = asyncio.create_task(LetThrough(bus, clock, admission, lambda: {"fake"}, metrics, "gateway").run())

    await records.announce(STATUS, clock.wall_ms())
    worker = second_pass_worker(bus, "a", FakeModel())
    call = DraftedCall(bus)
    await call.open()
    await call.say(2)
    assert {final.pass_ for final in await call.finals(2)} == {2}, "while one lives it is left alone"

    await worker.die()
    await records.withdraw(STATUS)
    await call.say(3)
    finals = await call.finals(5)
    assert [final.pass_ for final in finals] == [2, 2, 1, 1, 1]
    assert [final.text for final in finals[2:]] == ["a"] * 3

    await records.announce(STATUS, clock.wall_ms())
    again = second_pass_worker(bus, "b", FakeModel())
    while not len(again.holdings):
        await asyncio.sleep(0.01)
    await call.say(1, end=True)
    finals = await call.finals()
    assert [final.pass_ for final in finals] == [2, 2, 1, 1, 1, 2]
    assert [final.utterance for final in finals] == list(range(6))
    await again.drain()
    passing.cancel()
    await asyncio.gather(passing, return_exceptions=True)
