"""Programs are kept running: a crash comes back and is told, a refusal to start ends everything, drain is in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from stenoflow_cli import supervisor
from stenoflow_cli.supervisor import Program, ProgramFailedError, Supervisor

STAYS = (
    "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: exit(0))\nprint('up', flush=True)\ntime.sleep(60)"
)


def program(name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-c", code])


async def until_running(running: Supervisor, name: str, *, not_pid: int | None = None) -> int:
    async with asyncio.timeout(20):
        while (pid := running.pid(name)) is None or pid == not_pid:
            await asyncio.sleep(0.01)
    return pid


async def test_a_killed_program_comes_back_and_it_is_said(tmp_path: Path) -> None:
    told: list[str] = []
    running = Supervisor([program("a", STAYS)], tmp_path, told.append)
    task = asyncio.create_task(running.run())
    first = await until_running(running, "a")
    os.kill(first, signal.SIGKILL)
    await until_running(running, "a", not_pid=first)
    await running.drain()
    await task
    assert len(told) == 1 and told[0].startswith("a was ended by SIGKILL; it starts again in 0.2 s")


async def test_a_program_that_cannot_start_ends_all_with_its_reason(tmp_path: Path) -> None:
    refusing = program("b", "import sys\nprint('b: no such bundle', file=sys.stderr)\nsys.exit(2)")
    running = Supervisor([program("a", STAYS), refusing], tmp_path, lambda _: None)
    with pytest.raises(ProgramFailedError, match="no such bundle"):
        await running.run()
    assert running.pid("a") is None


async def test_a_drain_ends_what_is_only_just_being_started(tmp_path: Path) -> None:
    running = Supervisor([program("a", STAYS)], tmp_path, lambda _: None)
    task = asyncio.create_task(running.run())
    while not (tmp_path / "a.log").exists():  # then its program is asked for, and has no process yet
        await asyncio.sleep(0)
    assert running.pid("a") is None
    await running.drain()
    async with asyncio.timeout(20):
        await task


async def test_pauses_grow_while_a_program_keeps_crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0.01, 0.02, 0.03))
    told: list[str] = []
    running = Supervisor([program("a", "raise SystemExit(7)")], tmp_path, told.append)
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(20):
        while len(told) < 4:
            await asyncio.sleep(0.01)
    await running.drain()
    await task
    assert [line.split(" in ")[1].split(" s")[0] for line in told[:4]] == ["0.01", "0.02", "0.03", "0.03"]
    assert "exit code 7" in told[0]
