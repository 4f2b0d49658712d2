"""Programs that are kept running: started, restarted with back-off, drained in order.

Knows processes, and nothing of captions. Output of the programs (JSON lines) goes to a file each; what a person should
know is told through ``tell``.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a crashed program starts again; the last one repeats."""

STEADY_S = 30.0
"""A program that lived this long begins with the shortest pause again."""

DRAIN_S = 8.0
"""How long a program may take to drain before it is killed; drains are made to take under 5 s."""

CANNOT_START = 2
"""Exit code of a program that cannot start as configured: starting it again would not help."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program to keep running.

    Args:
        name: for people, e.g. ``acoustic-1``.
        arguments: the command line.
        environment: on top of this process's.
        file_descriptors: inherited, e.g. a listening socket.
    """

    name: str
    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    file_descriptors: Sequence[int] = ()


class ProgramFailedError(RuntimeError):
    """A program says that it cannot start as configured."""

    def __init__(self, program: Program, last_words: str) -> None:
        super().__init__(last_words or f"{program.name} cannot start")
        self.program = program


class Supervisor:
    """Keeps programs running until told to drain.

    Args:
        programs: started in order, drained in order.
        logs: folder for one file a program.
        tell: called with a sentence when something happened that a person should know.
    """

    def __init__(self, programs: Sequence[Program], logs: Path, tell: Callable[[str], None]) -> None:
        self._programs = programs
        self._logs = logs
        self._tell = tell
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._draining = False

    def pid(self, name: str) -> int | None:
        """The process id of a program, None while it is down."""
        process = self._running.get(name)
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Runs all programs until :meth:`drain`.

        Raises:
            ProgramFailedError: a program cannot start as configured; the others have been drained.
        """
        keepers = [asyncio.create_task(self._keep(program)) for program in self._programs]
        try:
            await asyncio.gather(*keepers)
        except BaseException:
            await self.drain()
            await asyncio.gather(*keepers, return_exceptions=True)
            raise

    async def drain(self) -> None:
        """Ends all programs in order, each with SIGTERM first."""
        self._draining = True
        for program in self._programs:
            process = self._running.get(program.name)
            if process is None or process.returncode is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(DRAIN_S):
                    await process.wait()
            except TimeoutError:
                self._tell(f"{program.name} did not drain within {DRAIN_S:.0f} s and was killed")
                process.kill()
                await process.wait()

    async def _keep(self, program: Program) -> None:
        crashes = 0
        loop = asyncio.get_running_loop()
        while not self._draining:
            begin = loop.time()
            code, last_words = await self._run_once(program)
            if self._draining:
                return
            if code == CANNOT_START:
                raise ProgramFailedError(program, last_words)
            crashes = 0 if loop.time() - begin > STEADY_S else crashes
            pause = BACK_OFF_S[min(crashes, len(BACK_OFF_S) - 1)]
            crashes += 1
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            self._tell(
                f"{program.name} {how}; it starts again in {pause:g} s" + (f" ({last_words})" if last_words else "")
            )
            await asyncio.sleep(pause)

    async def _run_once(self, program: Program) -> tuple[int, str]:
        log = (self._logs / f"{program.name}.log").open("ab")
        with log:
            process = await asyncio.create_subprocess_exec(
                *program.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **program.environment},
                pass_fds=tuple(program.file_descriptors),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then drains in order
                preexec_fn=_die_with_parent,
            )
            self._running[program.name] = process
            if self._draining:  # it was on its way when the others were ended
                process.terminate()
            assert process.stderr is not None
            last_words = ""
            async for line in process.stderr:
                log.write(line)
                log.flush()
                last_words = line.decode(errors="replace").strip() or last_words
            code = await process.wait()
        return code, _readable(last_words)


def _die_with_parent() -> None:
    """In the child: SIGTERM when the supervisor dies, so that a killed supervisor leaves no orphans (Linux prctl)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _readable(line: str) -> str:
    """The sentence in a log line."""
    try:
        fields = json.loads(line)
    except ValueError:
        return line
    return str(fields.get("reason") or fields.get("event") or "") if isinstance(fields, dict) else line
