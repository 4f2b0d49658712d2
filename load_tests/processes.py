"""What processes and Redis spent between two moments: read from ``/proc`` and ``INFO``."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import redis

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds by name, Redis commands, and wall-clock seconds."""

    cpu_s: dict[str, float]
    commands: int
    wall_s: float

    def since(self, before: Spent) -> Spent:
        """What was spent after ``before``."""
        cpu = {name: seconds - before.cpu_s.get(name, 0.0) for name, seconds in self.cpu_s.items()}
        return Spent(cpu, self.commands - before.commands, self.wall_s - before.wall_s)


def spent(redis_url: str) -> Spent:
    """Processor time so far of this process (``load``), its descendants by service, and the Redis server."""
    cpu: dict[str, float] = {}
    for pid in _family(os.getpid()):
        name = _name(pid)
        cpu[name] = cpu.get(name, 0.0) + _cpu_seconds(pid)
    with redis.Redis.from_url(redis_url) as client:
        commands = int(client.info("stats")["total_commands_processed"])
    return Spent(cpu, commands, time.monotonic())


def _family(pid: int) -> list[int]:
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    except OSError:
        return found
    return found


def _name(pid: int) -> str:
    if pid == os.getpid():
        return "load"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "gone"
    for name in ("gateway", "features", "acoustic", "decoder", "second_pass", "valkey", "redis"):
        if name in command:
            return "redis" if name == "valkey" else name
    return "other"


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
