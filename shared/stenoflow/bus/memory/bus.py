"""The in-memory bus: one pretended server, and the adapters that see it."""

from __future__ import annotations

from stenoflow.base.clock import Clock
from stenoflow.bus.claims import LEASE_S
from stenoflow.bus.logs import LogKey
from stenoflow.bus.memory.claims import MemoryClaims
from stenoflow.bus.memory.doors import MemoryDoors
from stenoflow.bus.memory.logs import LogStore, MemoryLogs
from stenoflow.bus.memory.records import MemoryRecords
from stenoflow.bus.memory.state import Faults, State
from stenoflow.bus.records import Stages


class MemoryBus:
    """All of a bus in one process. Every adapter made from one bus sees the same data.

    Args:
        clock: leases, expiry and signs of life follow it, so a fake one makes all of it deterministic.
        lease_s: seconds without renewal after which a claim may be taken over.
    """

    def __init__(self, clock: Clock, *, lease_s: float = LEASE_S) -> None:
        self._state = State(clock)
        self._lease_s = lease_s
        self._logs = MemoryLogs(self._state, LogStore(self._state))
        self._records = MemoryRecords(self._state)

    def logs(self) -> MemoryLogs:
        """The logs; ``.store`` is the same without ``await``."""
        return self._logs

    def claims(self, stage: Stages, consumer: str, bundle: str = "") -> MemoryClaims:
        """The claims of one stage, as one consumer."""
        return MemoryClaims(self._state, stage, consumer, bundle, self._lease_s)

    def records(self) -> MemoryRecords:
        """Session records, progress, registry."""
        return self._records

    def doors(self) -> MemoryDoors:
        """Tickets, and what tenants have open."""
        return MemoryDoors(self._state)

    async def close(self) -> None:
        """Nothing to close; Redis has connections."""

    @property
    def faults(self) -> Faults:
        """What is broken; set it from a test."""
        return self._state.faults

    def restart(self, *, empty: bool) -> None:
        """The server came back as another one, with its data or without."""
        self._state.restarts += 1
        if empty:
            self._state.lose_everything()

    def lose(self, key: LogKey) -> None:
        """One log is gone (expired, deleted)."""
        self._state.logs.pop(key, None)
