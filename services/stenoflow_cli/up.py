"""``stenoflow up``: the whole stack on one machine, as supervised processes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rich.console import Console
from rich.markup import escape

from stenoflow.base.errors import ConfigError
from stenoflow.bundle.loading import find_bundle, read_card
from stenoflow.bus.records import OF_A_BUNDLE, Stages
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow_cli.supervisor import Program, ProgramFailedError, Supervisor
from stenoflow_gateway.access.bearer import keys_of
from stenoflow_gateway.settings import LOOPBACK, GatewaySettings
from stenoflow_second_pass.models import moonshine, transformers_model, whisper
from stenoflow_second_pass.models.choice import DEFAULTS, installed_model
from stenoflow_second_pass.models.weights import missing

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

IN_CHECKOUT = (Path(__file__).resolve().parents[2] / "pyproject.toml").is_file()
PIP = ".venv/bin/pip install" if IN_CHECKOUT else "pip install"
"""How this project is installed into: the environment that its set-up made, or that of its user."""


def extra(name: str) -> str:
    """One of this project's extras, as pip is told it."""
    return f"-e '.[{name}]'" if IN_CHECKOUT else f"'stenoflow[{name}]'"


MODELS: Mapping[str, tuple[Mapping[str, str], str]] = {
    OFF: ({}, ""),
    moonshine.NAME: (DEFAULTS[moonshine.NAME], extra("second-pass")),
    whisper.NAME: (DEFAULTS[whisper.NAME], extra("second-pass-whisper")),
    "moonshine:": (moonshine.RUNTIME, extra("second-pass")),
    "whisper:": (whisper.RUNTIME, extra("second-pass-whisper")),
    "transformers:": (
        transformers_model.RUNTIME,
        " ".join(f"'{each}'" for each in transformers_model.RUNTIME.values()),
    ),
}
"""Of each kind of second pass: the packages that it needs, and what brings them. Kinds with a colon take a folder."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What to start.

    Args:
        host: a loopback address, unless the gateway has a secret for access tokens.
        port: of the gateway; 0 takes a free one.
        redis: an existing server; None starts one that ends with the stack and writes nothing to disk.
        workers: processes per stage; one of each where not said.
        bundle: name or folder of the model; its vocabulary is the second pass's too.
        more_bundles: others that are served beside it.
        second_pass: the model that hears each utterance again; ``auto`` takes what is installed, ``off`` none.
        logs: folder for the programs' logs; None takes a temporary one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    redis: str | None = None
    workers: Mapping[Stages, int] = field(default_factory=dict)
    bundle: str = "en-small"
    more_bundles: Sequence[str] = ()
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
    if stack.host not in LOOPBACK and keys_of(GatewaySettings()) is None:
        raise ConfigError(
            "host_not_loopback",
            f"{stack.host} can be reached by others, and there is no secret for access tokens: make one with "
            "`stenoflow token --new-key token.key` and set STENOFLOW_GATEWAY_TOKEN_KEY_FILE, or use 127.0.0.1",
        )
    second_pass = second_pass_model(stack.second_pass)
    # The supervisor holds the listening socket: a gateway that dies leaves the port as it was, and callers wait.
    listener = _listen(stack.host, stack.port)
    port = listener.getsockname()[1]
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(listener.close)
        logs = stack.logs or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stenoflow-")))
        logs.mkdir(parents=True, exist_ok=True)
        redis = stack.redis or cleanup.enter_context(EmbeddedRedis()).url

        def tell(sentence: str) -> None:
            console.print(f"[yellow]•[/] {escape(sentence)}", highlight=False)

        supervisor = Supervisor(_programs(stack, second_pass, redis, listener.fileno()), logs, tell)
        running = asyncio.create_task(supervisor.run())
        over = asyncio.Event()
        running.add_done_callback(lambda _: over.set())
        url = f"http://{stack.host}:{port}"
        try:
            with console.status("starting gateway and workers …") as status:
                await _until_ready(url, running, second_pass, lambda what: status.update(f"waiting for {what} …"))
            yield RunningStack(url, redis, logs, supervisor, over)
        finally:
            with console.status("ending gateway and workers …"):
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
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be used ({os.strerror(error.errno or 0).lower()})"
        # 0 is sure to be free; 8010 is what people read and then type.
        sentence = (
            f"port {port} of {host} {why}: choose another, `stenoflow up --port 8010` or `make run PORT=8010` "
            "(0 takes a free one)"
        )
        raise ConfigError("port_taken", sentence) from None
    listener.listen(1024)
    return listener


def _programs(stack: Stack, second_pass: str, redis: str, listener: int) -> list[Program]:
    programs = [
        Program(
            "gateway",
            [
                *(sys.executable, "-m", "stenoflow_gateway", "--redis", redis, "--fd", str(listener)),
                *("--host", stack.host, "--bundle", read_card(find_bundle(stack.bundle)).name),
            ],
            ONE_THREAD,
            [listener],
        )
    ]
    for stage in Stages:
        if stage is Stages.SECOND_PASS and second_pass == OFF:
            continue
        kinds = [[]] if stage is Stages.FEATURES else [["--bundle", stack.bundle]]
        if stage is Stages.SECOND_PASS:
            kinds = [["--bundle", stack.bundle, "--model", second_pass]]
        elif stage in OF_A_BUNDLE:
            kinds += [["--bundle", bundle] for bundle in stack.more_bundles]
        command = [sys.executable, "-m", f"stenoflow_{stage}", "--redis", redis]
        each = [[*command, *options] for options in kinds for _ in range(stack.workers.get(stage, 1))]
        programs += [Program(f"{stage}-{number}", one, ONE_THREAD) for number, one in enumerate(each, 1)]
    return programs


def second_pass_model(given: str) -> str:
    """The model that a second pass runs on this machine, or ``off``. Only looks: nothing is imported or loaded.

    Args:
        given: a model's name; ``auto`` is what is installed, none if nothing is.

    Raises:
        ConfigError: ``model_unknown``, or ``model_missing``: the message says how to install it.
    """
    if given == AUTO:
        return installed_model() or OFF
    kind, colon, folder = given.partition(":")
    if kind + colon not in MODELS or bool(folder) != bool(colon):
        sentence = (
            f"there is no model '{given}' for the second pass: give {AUTO}, {OFF}, {', '.join(DEFAULTS)}, "
            "whisper:<size or folder>, moonshine:<folder> or transformers:<folder>"
        )
        raise ConfigError("model_unknown", sentence)
    packages, wanted = MODELS[kind + colon]
    if missing(packages):
        raise ConfigError("model_missing", f"{given} needs packages that are not installed: {PIP} {wanted}")
    return given


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
