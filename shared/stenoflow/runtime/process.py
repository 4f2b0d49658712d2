"""A worker as a process: connect, announce, run the loop, drain on SIGTERM.

Exit codes: 0 drained, 2 cannot start as configured (the message says why), 70 a step hung, 1 a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Literal, TypeVar, get_args, get_origin

import structlog
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from stenoflow import __version__
from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable, StenoflowError
from stenoflow.bus.records import Stages, WorkerStatus
from stenoflow.bus.redis import RedisBus
from stenoflow.runtime import event_loop
from stenoflow.runtime.health import Health
from stenoflow.runtime.holdings import Held, Holdings
from stenoflow.runtime.look_back import LookBack, LooksBack
from stenoflow.runtime.loop import StuckStep, WorkerLoop
from stenoflow.runtime.metrics import WorkerMetrics, new_registry
from stenoflow.runtime.places import PLACES
from stenoflow.runtime.settings import WorkerSettings
from stenoflow.runtime.stage import Stage
from stenoflow.telemetry.logging import set_up_logging
from stenoflow.telemetry.tracing import tracing_of

ANNOUNCE_S = 1.0
"""How often a worker writes its line into the registry."""

EXIT_STUCK = 70


@dataclass(frozen=True, slots=True)
class Worker:
    """What a service's composition root makes of its settings.

    Args:
        stage: the stage, warm.
        places: tracks that it can hold.
        bundle: name and short hash of its bundle, or empty.
        summary: one line for the log: device, precision, measured tracks.
        details: what gateways should know, e.g. ``look_ahead_ms``.
        claims: of which bundle or model the claims are; empty where all workers of the stage share them.
        looks_back: the stage once more, if it hears again; and after how long a wait it does without.
    """

    stage: Stage[Any]
    places: int
    bundle: str = ""
    summary: str = ""
    details: Mapping[str, str] = dataclass_field(default_factory=dict)
    claims: str = ""
    looks_back: tuple[LooksBack, float] | None = None


Settings = TypeVar("Settings", bound=WorkerSettings)


def main(
    name: Stages,
    settings_class: type[Settings],
    compose: Callable[[Settings, CollectorRegistry], Worker],
    description: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parses the command line, composes the worker and runs it until SIGTERM; returns the exit code.

    Every field of the settings class is an option (``--health-port``), and an environment variable by its prefix.
    """
    try:
        settings = _parse(name, settings_class, description, arguments)
        set_up_logging(_program(name), level=settings.log_level)
        registry = new_registry()
        worker = compose(settings, registry)
        return asyncio.run(_run(name, settings, worker, registry))
    except StenoflowError as error:
        print(f"{_program(name)}: {error}", file=sys.stderr)
        return 2
    except StuckStep as error:
        structlog.get_logger().error("step hangs", reason=str(error))
        sys.stderr.flush()
        os._exit(EXIT_STUCK)  # the hung thread would keep an ordinary exit waiting for ever


def _program(name: Stages) -> str:
    """The console script of a stage."""
    return f"stenoflow-{name.value.replace('_', '-')}"


def _parse(name: Stages, settings_class: type[Settings], description: str, arguments: Sequence[str] | None) -> Settings:
    prefix = settings_class.model_config.get("env_prefix", "")
    parser = argparse.ArgumentParser(
        _program(name),
        description=description,
        epilog=f"Every option can also be set in the environment, as {prefix}NAME.",
    )
    for field_name, field in settings_class.model_fields.items():
        text = (field.description or "").replace("%", "%%").replace("`", "")
        if field.default not in (None, ""):  # else the description says what holds
            text += f" (default: {field.default})"
        parser.add_argument(
            "--" + field_name.replace("_", "-"),
            dest=field_name,
            metavar=_metavar(field_name, field.annotation),
            help=text,
        )
    given = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    try:
        return settings_class(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        parser.error(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


def _metavar(field_name: str, annotation: Any) -> str:
    """What stands for the value in ``--help``: the choices, a number's N, or the name's last word (MS, PORT, PATH)."""
    if get_origin(annotation) is Literal:
        return f"{{{','.join(get_args(annotation))}}}"
    if field_name == "redis":
        return "URL"
    last = field_name.rpartition("_")[2]
    return "N" if annotation in (int, int | None, float) and last not in ("ms", "port") else last.upper()


async def _run(name: Stages, settings: WorkerSettings, worker: Worker, registry: CollectorRegistry) -> int:
    log = structlog.get_logger().bind(stage=name.value)
    clock = SystemClock()
    consumer = settings.worker or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    bus = await RedisBus.connect(settings.redis, clock, shards=settings.shards, lease_s=settings.lease_ms / 1000)
    metrics = WorkerMetrics(name.value, registry)
    place = next(place for place in PLACES if place.stage is name)
    places = settings.places or worker.places
    metrics.places.set(places)
    holdings = Holdings(
        worker.stage,
        place,
        bus.claims(name, consumer, worker.claims),
        bus.logs(),
        bus.records(),
        clock,
        metrics,
        places=places,
        lease_s=settings.lease_ms / 1000,
        renew_s=settings.lease_ms / 3000,
    )
    look_back: LookBack[Held[Any]] | None = None
    if worker.looks_back is not None:
        look_back = LookBack(worker.looks_back[0], bus.logs(), clock, worker.looks_back[1])
    tracing = tracing_of(_program(name))
    loop = WorkerLoop(worker.stage, place, bus, clock, holdings, metrics, look_back, tracing, settings.stuck_s)
    running = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(signum, loop.drain)
    port = Health(registry, loop.alive, loop.ready).serve(settings.health_host, settings.health_port)
    log.info("ready", worker=consumer, places=places, bundle=worker.bundle, health_port=port, summary=worker.summary)

    def status() -> WorkerStatus:
        return WorkerStatus(consumer, name, places, len(holdings), worker.bundle, __version__, dict(worker.details))

    announcing = asyncio.create_task(_announce(bus, clock, status))
    announcing.add_done_callback(lambda _: loop.drain())  # it has no end of its own: a worker that nobody sees is none
    watching = asyncio.create_task(event_loop.watch(metrics.loop_lag.observe))
    try:
        await loop.run()
        if announcing.done():
            announcing.result()
        log.info("drained")
        return 0
    finally:
        announcing.cancel()
        watching.cancel()
        await asyncio.gather(announcing, watching, return_exceptions=True)
        await bus.close()
        if tracing is not None:
            tracing.close()


async def _announce(bus: RedisBus, clock: SystemClock, status: Callable[[], WorkerStatus]) -> None:
    """Writes the worker's line every second, and removes it in the end, so that admission stops counting it."""
    records = bus.records()
    try:
        while True:
            try:
                await records.announce(status(), clock.wall_ms())
            except BusUnavailable as error:
                structlog.get_logger().warning("cannot announce", code=error.code)
            await asyncio.sleep(ANNOUNCE_S)
    finally:
        await records.withdraw(status())
