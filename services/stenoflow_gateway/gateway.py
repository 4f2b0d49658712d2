"""The gateway as a whole: what its sockets share, its background tasks, its readiness and its drain."""

from __future__ import annotations

import asyncio
import secrets
from typing import Protocol

import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable
from stenoflow.bus.doors import Doors
from stenoflow.bus.records import SessionRecord, Stages
from stenoflow.runtime import event_loop
from stenoflow.runtime.loop import Bus as WorkerBus
from stenoflow.runtime.metrics import WorkerMetrics, new_registry
from stenoflow.telemetry.tracing import Tracing
from stenoflow_gateway.access.bearer import keys_of
from stenoflow_gateway.access.grants import OPEN, Grant
from stenoflow_gateway.access.tenants import Limits, Tenants
from stenoflow_gateway.access.tickets import Tickets
from stenoflow_gateway.admission import Admission, missing, second_passes
from stenoflow_gateway.janitor import Janitor
from stenoflow_gateway.let_through import LetThrough
from stenoflow_gateway.measures.history import History
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.measures.tracing import CallTracing
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.base import Idle
from stenoflow_gateway.settings import GatewaySettings
from stenoflow_gateway.sockets.appender import Appender
from stenoflow_gateway.sockets.connection import Connection
from stenoflow_gateway.sockets.outgoing import Socket
from stenoflow_gateway.sockets.reader import Readers
from stenoflow_gateway.sockets.watcher import Watcher

CAPACITY_S = 1.0
"""How often Redis is asked for its memory, and for the places that are free."""

DRAIN_S = 3.0
"""How long sockets may take to hear ``reconnect`` before the gateway leaves."""


class Bus(WorkerBus, Protocol):
    """What a gateway needs of Redis, or of memory."""

    def doors(self) -> Doors:
        """Tickets, and what tenants have open."""
        ...


class Gateway:
    """Everything of a gateway but HTTP.

    Args:
        bus: where the logs are.
        clock: time.
        settings: windows, shards and limits.
        tracing: where spans go; None for nowhere.
    """

    def __init__(self, bus: Bus, clock: Clock, settings: GatewaySettings, tracing: Tracing | None = None) -> None:
        self.clock = clock
        self.logs = bus.logs()
        self.records = bus.records()
        self.windows = {"live": settings.live_window_s, "file": settings.file_window_s}
        self.idle = Idle(settings.idle_warning_s, settings.idle_end_s)
        self.retention_s = settings.retention_s
        self.shards = settings.shards
        self.keys = keys_of(settings)
        self.registry = new_registry()
        self.metrics = GatewayMetrics(
            self.registry,
            self._lag_s,
            lambda: len(self._connections),
            lambda: len(self._watchers),
            lambda: len(self._open_records()),
        )
        self.tracing = None if tracing is None else CallTracing(tracing, clock)
        self._room: int | None = None
        self.history = History(self.metrics, clock, lambda: (len(self._open_records()), self._room, self._lag_s()))
        self.admission = Admission(
            self.records, lambda stage, model: bus.claims(stage, "gateway", model), clock, settings.bundle
        )
        self.appender = Appender(self.logs, self.metrics)
        self.readers = Readers(self.logs, self.records, clock, settings.shards)
        limits = Limits(settings.tenant_sessions, settings.tenant_tracks, settings.tenant_sessions_per_minute)
        self.tickets = Tickets(bus.doors(), clock)
        self.tenants = Tenants(bus.doors(), limits, clock)
        self.janitor = Janitor(self.records, self.logs, clock, self._open_records, self.metrics, self.tenants)
        self.let_through = LetThrough(
            bus,
            clock,
            self.admission,
            lambda: {record.second_pass for record in self._open_records() if record.second_pass},
            WorkerMetrics(Stages.SECOND_PASS, self.registry),
            f"gateway-{secrets.token_hex(4)}",
        )
        self.draining = False
        self._connections: set[Connection] = set()
        self._watchers: set[Watcher] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """The background tasks, until cancelled; a bug in one ends all."""
        async with asyncio.TaskGroup() as tasks:
            for work in (
                self.appender.run(),
                self.readers.run(),
                self.janitor.run(),
                self.let_through.run(),
                self._watch_capacity(),
                event_loop.watch(self.metrics.loop_lag.observe),
                self.history.run(),
            ):
                tasks.create_task(work)

    async def serve(self, socket: Socket, grant: Grant = OPEN) -> None:
        """Serves one accepted socket until it is closed.

        Args:
            socket: of a client.
            grant: what it may do.
        """
        connection = Connection(socket, self, grant)
        self._connections.add(connection)
        self.metrics.accepted.inc()
        began = self.clock.monotonic()
        self._empty.clear()
        if self.draining:
            connection.feed(on.Drain())
        try:
            await connection.run()
        finally:
            self.metrics.socket_time.observe(self.clock.monotonic() - began)
            self._connections.discard(connection)
            self._note_empty()

    async def watch(self, socket: Socket, record: SessionRecord) -> None:
        """Shows a session on one accepted socket until it is over or the socket is closed."""
        watcher = Watcher(socket, self, record)
        self._watchers.add(watcher)
        self._empty.clear()
        if self.draining:
            watcher.feed(on.Drain())
        try:
            await watcher.run()
        finally:
            self._watchers.discard(watcher)
            self._note_empty()

    def _note_empty(self) -> None:
        if not self._connections and not self._watchers:
            self._empty.set()

    def newest(self, connection: Connection) -> None:
        """This connection speaks for its session now; older ones here hear of it at once (newest wins)."""
        record = connection.machine.record
        for other in list(self._connections):
            if record is not None and other is not connection and other.machine.record is not None:
                old = other.machine.record
                if old.id == record.id and old.connection < record.connection and other.machine.tracks:
                    other.feed(on.RecordRead(record))

    async def not_ready(self) -> str | None:
        """What is missing before calls can come, None where nothing is."""
        if self.draining:
            return "this gateway is leaving"
        try:
            lacking = missing(await self.admission.workers())
        except BusUnavailable as error:
            return f"Redis: {error.message}"
        return f"no worker for: {', '.join(lacking)}" if lacking else None

    async def second_passes(self) -> list[str]:
        """The models that hear utterances again, by name.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        return second_passes(await self.admission.workers())

    async def drain(self) -> None:
        """Sends ``reconnect`` to every socket and waits until they are closed, 3 s at most."""
        self.draining = True
        self._log.info("draining", sockets=len(self._connections))
        for connection in list(self._connections):
            connection.feed(on.Drain())
        for watcher in list(self._watchers):
            watcher.feed(on.Drain())
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._empty.wait()
        except TimeoutError:
            self._log.warning("sockets left", sockets=len(self._connections))

    def _open_records(self) -> list[SessionRecord]:
        machines = [connection.machine for connection in self._connections]
        return [machine.record for machine in machines if machine.record is not None and machine.tracks]

    def _lag_s(self) -> float:
        now_ms = self.clock.wall_ms()
        return max((connection.machine.lag_s(now_ms) for connection in self._connections), default=0.0)

    async def _watch_capacity(self) -> None:
        while True:
            try:
                fraction = await self.records.memory_fraction()
                room = await self.admission.room()
            except BusUnavailable as error:
                self._log.warning("bus unavailable", code=error.code)
                self._room = None
            else:
                self._room = room.tracks
                self.admission.memory_fraction = self.appender.memory_fraction = fraction
                self.metrics.memory.set(fraction)
                stages = {stage.value: free for stage, free in room.stages.items()}
                self.metrics.room(room.calls, stages, room.second_passes)
            await asyncio.sleep(CAPACITY_S)
