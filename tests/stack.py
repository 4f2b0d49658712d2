"""The real stack as a user starts it, for tests: its address, and its processes to kill."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

START_S = 120.0


class StackProcess:
    """``stenoflow up`` on a free port.

    Args:
        logs: folder for the programs' logs.
        options: more of the command line.
    """

    def __init__(self, logs: Path, options: Sequence[str] = ()) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self._output = (logs / "up.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stenoflow_cli", "up", "--port", "0", "--logs", str(logs), *options],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "300"},
        )
        self.url = self._wait_for_url()
        self.stream_url = self.url.replace("http", "ws", 1) + "/v1/stream"

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            text = (self.logs / "up.log").read_text(errors="replace")
            if found := re.search(r"takes calls: (http://\S+)", text):
                return found[1]
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"the stack ended with exit code {self._process.returncode}:\n{text}{self.last_words()}"
                )
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"the stack was not ready within {START_S} s:\n{self.last_words()}")

    def pids(self, module: str) -> list[int]:
        """Process ids of a service (``stenoflow_acoustic``), oldest first."""
        found = []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in children:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if module.encode() in command:
                found.append(int(pid))
        return sorted(found)

    def kill(self, module: str, index: int = 0) -> int:
        """``kill -9`` of one process of a service."""
        pid = self.pids(module)[index]
        os.kill(pid, signal.SIGKILL)
        return pid

    def last_words(self) -> str:
        """The end of every log, for a failing test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.logs.glob("*.log"))
        )

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._output.close()
        return int(self._process.returncode)
