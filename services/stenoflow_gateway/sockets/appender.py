"""Appends of all sockets, pipelined: what came while one batch is under way goes in the next (DESIGN 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from stenoflow.base.errors import BusUnavailable
from stenoflow.bus.entry import Entry, EntryId
from stenoflow.bus.logs import Appended, Full, LogKey, Logs, Outcome
from stenoflow_gateway.measures.metrics import GatewayMetrics

HELD_FRACTION = 0.8
"""From here on of ``maxmemory`` no sound is appended: what is left belongs to the later stages, which must write
before they can trim (DESIGN 8)."""

Done = Callable[[Outcome | None], None]


class Appender:
    """Carries out appends and tells each caller its own outcome.

    Args:
        logs: where to.
        metrics: counts outcomes and bytes.
    """

    def __init__(self, logs: Logs, metrics: GatewayMetrics) -> None:
        self._logs = logs
        self._metrics = metrics
        self._waiting: list[tuple[LogKey, EntryId, Entry, Done]] = []
        self._some = asyncio.Event()
        self._log = structlog.get_logger()
        self.memory_fraction = 0.0

    def append(self, key: LogKey, entry_id: EntryId, entry: Entry, done: Done) -> None:
        """Appends soon; ``done`` gets the outcome, None where no reply came. One append a log at a time."""
        self._waiting.append((key, entry_id, entry, done))
        self._some.set()

    async def run(self) -> None:
        """Appends until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, []
            if self.memory_fraction >= HELD_FRACTION:
                for item in [item for item in batch if item[2].data]:
                    batch.remove(item)
                    self._tell(item[2], item[3], Full("redis memory"))
            if batch:
                await self._append(batch)

    async def _append(self, batch: list[tuple[LogKey, EntryId, Entry, Done]]) -> None:
        outcomes: list[Outcome | None]
        try:
            outcomes = list(await self._logs.append([(key, entry_id, entry) for key, entry_id, entry, _ in batch]))
        except BusUnavailable as error:
            self._log.warning("bus unavailable", code=error.code, appends=len(batch))
            outcomes = [None] * len(batch)
        for (_, _, entry, done), outcome in zip(batch, outcomes, strict=True):
            self._tell(entry, done, outcome)

    def _tell(self, entry: Entry, done: Done, outcome: Outcome | None) -> None:
        self._metrics.append("lost" if outcome is None else type(outcome).__name__.lower())
        if isinstance(outcome, Appended):
            self._metrics.audio_bytes.inc(len(entry.data))
        done(outcome)
