"""The shared reader: who is told what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.unit.gateway.test_parts import FakeClock, opened

from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory import MemoryBus
from stenoflow_gateway.session import events as on
from stenoflow_gateway.sockets.reader import ShardReader


class HeldLogs:
    """A read that was sent, and is answered when the test says so."""

    def __init__(self, bus: MemoryBus) -> None:
        self._logs = bus.logs()
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def read(self, after: Mapping[LogKey, EntryId], *, block_ms: int | None, count: int = 64) -> Any:
        if self.asked.is_set():
            return await self._logs.read(after, block_ms=block_ms, count=count)
        news = self._logs.store.read(after, count)
        self.asked.set()
        await self.answer.wait()
        return news

    def generation(self) -> str:
        return self._logs.generation()


class Listener:
    def __init__(self, position: int) -> None:
        self.position = position
        self.heard: list[on.Event] = []
        self.news = asyncio.Event()

    def feed(self, event: on.Event) -> None:
        self.heard.append(event)
        if isinstance(event, on.FinalsRead):
            self.position = event.entries[-1][1].end
            self.news.set()

    def finals_position(self, number: int) -> int:
        return self.position


async def test_who_comes_while_a_read_is_under_way_is_told_nothing_that_begins_beyond_its_need() -> None:
    bus = MemoryBus(FakeClock())
    record, _ = await opened(bus, "s00-0123456789abcdef", 1)
    finals = LogKey(record.track_keys()[0], LogName.FINALS)
    for begin in (0, 100, 200):
        entry = Entry(finals.track, Kind.FINAL, begin, begin + 100)
        bus.logs().store.append([(finals, EntryId(begin + 100, 1), entry)])
    logs = HeldLogs(bus)
    reader = ShardReader("{s00}", logs, bus.records(), FakeClock())  # type: ignore[arg-type]
    old, late = Listener(200), Listener(0)
    reader.follow(old, record)
    running = asyncio.create_task(reader.run())
    await asyncio.wait_for(logs.asked.wait(), 5)
    reader.follow(late, record)  # needs what lies before the read that is under way
    logs.answer.set()
    await asyncio.wait_for(late.news.wait(), 5)
    running.cancel()
    [first] = [event for event in old.heard if isinstance(event, on.FinalsRead)]
    assert [entry.begin for _, entry in first.entries] == [100, 200]
    [first] = [event for event in late.heard if isinstance(event, on.FinalsRead)]
    assert [entry.begin for _, entry in first.entries if entry.kind is Kind.FINAL] == [0, 100, 200]
