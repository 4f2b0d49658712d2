"""The bus in memory: one process, no waiting, an injected clock; the same visible semantics as Redis."""

from stenoflow.bus.memory.bus import MemoryBus
from stenoflow.bus.memory.claims import MemoryClaims
from stenoflow.bus.memory.logs import LogStore, MemoryLogs
from stenoflow.bus.memory.records import MemoryRecords
from stenoflow.bus.memory.state import Faults

__all__ = ["Faults", "LogStore", "MemoryBus", "MemoryClaims", "MemoryLogs", "MemoryRecords"]
