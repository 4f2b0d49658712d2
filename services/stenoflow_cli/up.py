"""``stenoflow up``: the whole stack on one machine, as supervised processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rich.console import Console

from stenoflow.base.errors import ConfigError
from stenoflow.bus.records import Stages
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow_cli.supervisor import Program, ProgramFailedError, Supervisor
from stenoflow_second_pass.models.choice import installed_model

READY_S = 90.0
"""How long the stack may take until it can take calls; compiled parts are made at the first start."""

ONE_THREAD = {
    # Processes are our threads: a second BLAS or OpenMP thread a process makes steps many times slower on busy cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}

AUTO, OFF = "auto", "off"
"""Of the second pass: the best model that is installed, and none."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Stack:
    """What to start.

    Args:
        host: a loopback address: there are no secrets yet.
        port: of the gateway; 0 takes a free one.
        redis: an existing server; None starts one that ends with the stack and writes nothing to disk.
        workers: processes per stage; one of each where not said.
        bundle: name or folder of the model.
        second_pass: the model that hears each utterance again; ``auto`` takes what is installed, ``off`` none.
        logs: folder for the programs' logs; None takes a temporary one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    redis: str | None = None
    workers: Mapping[Stages, int] = field(default_factory=dict)
    bundle: str = "en-small"
    second_pass: str = AUTO
    logs: Path | None = None


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that takes calls.

    Args:
        url: of the page.
        redis: where the logs are.
        logs: folder with a log file a program.
        supervisor: to ask for process ids (tests), and to drain.
    """

    url: str
    redis: str
    logs: Path
    supervisor: Supervisor
    over: asyncio.Event

    @property
    def stream_url(self) -> str:
        """Where clients connect."""
        return self.url.replace("http", "ws", 1) + "/v1/stream"


@contextlib.asynccontextmanager
async def running_stack(stack: Stack, console: Console) -> AsyncIterator[RunningStack]:
    """Starts everything, waits until calls can come, and drains it in the end.

    Raises:
        ConfigError: what cannot start, and why.
    """
    if stack.host not in LOOPBACK:
        raise ConfigError(
            "host_not_loopback",
            f"{stack.host} can be reached by others, and there are no access tokens yet: use 127.0.0.1 and a proxy",
        )
    # The supervisor holds the listening socket: a gateway that dies leaves the port as it was, and callers wait.
    listener = _listen(stack.host, stack.port)
    port = listener.getsockname()[1]
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(listener.close)
        logs = stack.logs or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stenoflow-")))
        logs.mkdir(parents=True, exist_ok=True)
        redis = stack.redis or cleanup.enter_context(EmbeddedRedis()).url

        def tell(sentence: str) -> None:
            console.print(f"[yellow]•[/] {sentence}", highlight=False)

        supervisor = Supervisor(_programs(stack, redis, listener.fileno()), logs, tell)
        running = asyncio.create_task(supervisor.run())
        over = asyncio.Event()
        running.add_done_callback(lambda _: over.set())
        url = f"http://{stack.host}:{port}"
        try:
            with console.status("starting gateway and workers …") as status:
                await _until_ready(
                    url, running, second_pass_model(stack), lambda what: status.update(f"waiting for {what} …")
                )
            yield RunningStack(url, redis, logs, supervisor, over)
        finally:
            await supervisor.drain()
            result = await asyncio.gather(running, return_exceptions=True)
            if isinstance(result[0], ProgramFailedError) and sys.exc_info()[0] is None:
                raise ConfigError("program_failed", str(result[0]))


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            "port_taken", f"{host}:{port} cannot be used ({os.strerror(error.errno or 0).lower()}); give another --port"
        ) from None
    listener.listen(1024)
    return listener


def _programs(stack: Stack, redis: str, listener: int) -> list[Program]:
    programs = [
        Program(
            "gateway",
            [sys.executable, "-m", "stenoflow_gateway", "--redis", redis, "--fd", str(listener), "--host", stack.host],
            ONE_THREAD,
            [listener],
        )
    ]
    again = second_pass_model(stack)
    for stage in Stages:
        if stage is Stages.SECOND_PASS and again == OFF:
            continue
        options = [] if stage is Stages.FEATURES else ["--bundle", stack.bundle]
        if stage is Stages.SECOND_PASS:
            options += ["--model", again]
        count = stack.workers.get(stage, 1)
        command = [sys.executable, "-m", f"stenoflow_{stage}", "--redis", redis, *options]
        programs += [Program(f"{stage}-{number}", command, ONE_THREAD) for number in range(1, count + 1)]
    return programs


def second_pass_model(stack: Stack) -> str:
    """The model that the stack's second pass runs, or ``off``."""
    return (installed_model() or OFF) if stack.second_pass == AUTO else stack.second_pass


async def _until_ready(url: str, running: asyncio.Task[None], second_pass: str, tell: Callable[[str], None]) -> None:
    deadline = asyncio.get_running_loop().time() + READY_S
    waiting_for = "gateway"
    while asyncio.get_running_loop().time() < deadline:
        if running.done():
            error = running.exception()
            raise ConfigError("program_failed", str(error)) if error else ConfigError("program_failed", "it ended")
        answer = await asyncio.to_thread(_readiness, url, second_pass)
        if answer is None:
            return
        waiting_for = answer
        tell(waiting_for)
        await asyncio.sleep(0.2)
    raise ConfigError("not_ready", f"the stack is not ready after {READY_S:.0f} s: still waiting for {waiting_for}")


def _readiness(url: str, second_pass: str) -> str | None:
    """None when ready, else what is missing."""
    try:
        with urlopen(f"{url}/readyz", timeout=2) as response:
            served = response.read().decode(errors="replace")
            return "the second pass" if second_pass != OFF and "second pass: none" in served else None
    except URLError as error:
        body = getattr(error, "read", bytes)()
        return body.decode(errors="replace").strip()[:120] or "gateway"
    except OSError:
        return "gateway"


async def until_interrupted(stack: RunningStack) -> None:
    """Returns at Ctrl-C, SIGTERM, or when a program gave up."""
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stack.over.set)
    await stack.over.wait()
