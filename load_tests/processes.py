"""What processes and Redis spent between two moments: read from ``/proc`` and ``INFO``."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import redis

TICKS = os.sysconf("SC_CLK_TCK")


SERVICES = ("gateway", "features", "acoustic", "replaying", "decoder", "second_pass", "valkey", "redis", "sherpa")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds by name, Redis commands, bytes that went through Redis' sockets, and wall-clock seconds."""

    cpu_s: dict[str, float]
    commands: int
    wall_s: float
    net_bytes: int = 0

    def since(self, before: Spent) -> Spent:
        """What was spent after ``before``. A process that was killed takes what it spent with it."""
        cpu = {name: max(0.0, seconds - before.cpu_s.get(name, 0.0)) for name, seconds in self.cpu_s.items()}
        return Spent(
            cpu, self.commands - before.commands, self.wall_s - before.wall_s, self.net_bytes - before.net_bytes
        )


def spent(redis_url: str) -> Spent:
    """Processor time so far of the load generator (``load``), of the services by name, and of the Redis server.

    Args:
        redis_url: of the server; empty where there is none.
    """
    cpu: dict[str, float] = {}
    for pid in _family(os.getpid()):
        name = _name(pid)
        cpu[name] = cpu.get(name, 0.0) + _cpu_seconds(pid)
    if not redis_url:
        return Spent(cpu, 0, time.monotonic())
    with redis.Redis.from_url(redis_url) as client:
        stats = client.info("stats")
    net = int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])
    return Spent(cpu, int(stats["total_commands_processed"]), time.monotonic(), net)


def resident(redis_url: str) -> dict[str, int]:
    """Bytes in memory by name, as :func:`spent` names them; of Redis also what its data takes (``redis data``)."""
    held: dict[str, int] = {}
    for pid in _family(os.getpid()):
        name = _name(pid)
        held[name] = held.get(name, 0) + _resident_bytes(pid)
    if redis_url:
        with redis.Redis.from_url(redis_url) as client:
            held["redis data"] = int(client.info("memory")["used_memory"])
    return held


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
    if "load_tests.generator" in command:
        return "load"
    for name in SERVICES:
        if name in command:
            return "redis" if name == "valkey" else name
    return "other"


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0
