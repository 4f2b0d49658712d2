"""One socket: carries the machine's effects out and tells it what came of them. Knows nothing of the protocol.

Everything here is the shell of :class:`~stenoflow_gateway.session.machine.Session`. Commands to Redis are never
cancelled: what they bring after the socket is gone meets a closed machine, which leaves it out.
"""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol

import msgspec
import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable, ClientError, StenoflowError
from stenoflow.base.ids import is_served, new_epoch, new_session_id, shard_for
from stenoflow.bus.logs import LogKey, LogName, Logs
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import Records, SessionRecord, SessionState
from stenoflow.protocol import messages as wire
from stenoflow_gateway.access.bearer import Keyring, made_here
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.access.grants import OPEN, Grant
from stenoflow_gateway.access.tenants import Tenants
from stenoflow_gateway.admission import Admission, Served
from stenoflow_gateway.janitor import Janitor
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.measures.tracing import CallTracing
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.base import Idle
from stenoflow_gateway.session.events import BUG, Code, Effect, Event, Moment
from stenoflow_gateway.session.machine import Session
from stenoflow_gateway.session.resume_tokens import hash_of, make_token
from stenoflow_gateway.session.states import State
from stenoflow_gateway.sockets.appender import Appender
from stenoflow_gateway.sockets.outgoing import Outgoing, Socket
from stenoflow_gateway.sockets.reader import Readers

RETRY_S = 0.2
"""Pause before Redis is asked again."""


class Services(Protocol):
    """What connections share; :class:`stenoflow_gateway.gateway.Gateway` is it."""

    clock: Clock
    logs: Logs
    records: Records
    admission: Admission
    appender: Appender
    readers: Readers
    janitor: Janitor
    metrics: GatewayMetrics
    tenants: Tenants
    tracing: CallTracing | None
    windows: dict[str, float]
    idle: Idle
    retention_s: int
    shards: int
    keys: Keyring | None

    def newest(self, connection: Connection) -> None:
        """This connection speaks for its session now; older ones here hear of it at once."""
        ...


class Connection:
    """One client's socket.

    Args:
        socket: accepted.
        services: what all share.
        grant: what it may do; its tenant's are the sessions that begin here.
    """

    def __init__(self, socket: Socket, services: Services, grant: Grant = OPEN) -> None:
        session = new_session_id(shard_for(secrets.token_hex(4), services.shards))
        self._socket = socket
        self._services = services
        self._grant = grant
        token = make_token(session, secrets.token_urlsafe(24))
        if services.keys is not None:
            token = services.keys.sealed(token)
        self.machine = Session(session, token, services.windows, self._moment, services.idle, grant)
        self._out = Outgoing(socket, session, services.metrics)
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger()

    @property
    def _moment(self) -> Moment:
        return Moment(self._services.clock.monotonic(), self._services.clock.wall_ms())

    def finals_position(self, number: int) -> int:
        """Up to where a track's finals were taken, 16 kHz samples."""
        return self.machine.tracks[number].committed

    async def run(self) -> None:
        """Speaks with the client until the socket is closed."""
        writer = asyncio.create_task(self._out.run())
        receiver = asyncio.create_task(self._receive())
        self._arm(self._services.clock.monotonic() + 10.0)
        try:
            await asyncio.wait({writer, receiver}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.feed(on.SocketGone())
            if self._timer is not None:
                self._timer.cancel()
            writer.cancel()
            receiver.cancel()
            await asyncio.gather(writer, receiver, return_exceptions=True)
            if self._services.tracing is not None:
                self._services.tracing.leave(track.key for track in self.machine.tracks)
            self._log.info("socket closed", session=self.machine.id, code=self._out.closing)

    def feed(self, event: Event) -> None:
        """Takes one event and carries out what follows from it."""
        if self._services.tracing is not None:
            self._services.tracing.news(event)
        try:
            for effect in self.machine.receive(event, self._moment):
                self._carry_out(effect)
        except Exception as error:  # a bug ends this session alone; what was said stays out of the log
            self._bug(error)

    # ------------------------------------------------------------------ the socket

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                self.feed(on.Binary(message["bytes"]))
            else:
                self.feed(on.Text(message.get("text") or ""))

    def _bug(self, error: Exception) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self._log.error(
            "bug", session=self.machine.id, kind=type(error).__name__, where=f"{where.filename}:{where.lineno}"
        )
        self._services.readers.leave(self)
        self._out.close(BUG)

    # ------------------------------------------------------------------ effects

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case on.Send(message):
                self._send(message)
            case on.Forward(track, data, superseded):
                self._out.put(data.decode(), ("partial", track) if superseded else None)
            case on.Close(code):
                self._out.close(code)
            case on.Open():
                self._spawn(self._open(effect))
            case on.Connect():
                self._spawn(self._connect(effect))
            case on.Append():
                self._append(effect)
            case on.ReadTail():
                self._spawn(self._ask(lambda: self._read_tail(effect)))
            case on.ReadRecord(session):
                self._spawn(self._ask(lambda: self._read_record(session)))
            case on.Follow(None):
                self._services.readers.leave(self)
            case on.Follow(record) if record is not None:
                self._services.readers.follow(self, record)
            case on.Finish(record):
                self._spawn(self._ask(lambda: self._finish(effect), even_closed=True))
            case on.SetTimer(at):
                self._arm(at)
            case on.Measured(name, value):
                self._services.metrics.measure(name, value)

    def _append(self, effect: on.Append) -> None:
        tracing = self._services.tracing
        self._services.appender.append(
            LogKey(effect.track, LogName.AUDIO),
            effect.id,
            effect.entry if tracing is None else tracing.received(effect.track, effect.entry),
            lambda outcome: self.feed(on.AppendDone(effect.track, outcome)),
        )

    def _send(self, message: wire.Message) -> None:
        key: Hashable = None
        match message:
            case wire.Latency():
                key = message.type
                self._services.metrics.steps_of(message)
            case wire.Ack() | wire.Progress():
                key = message.type
            case wire.Quality():
                key = ("quality", message.track)
            case wire.Status(status="rewind"):
                self._services.metrics.rewinds.inc()
            case wire.Error():
                self._services.metrics.error(message.code)
                self._log.info("client refused", session=self.machine.id, code=message.code)
            case _:
                pass
        self._out.put(message.model_dump_json(), key)

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, at - self._services.clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.feed(on.Timer())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._bug(error)

    # ------------------------------------------------------------------ Redis

    async def _ask(self, work: Callable[[], Awaitable[None]], *, even_closed: bool = False) -> None:
        """Asks until Redis answers; nobody waits for it once the machine is closed."""
        while even_closed or self.machine.state is not State.CLOSED:
            try:
                await work()
                return
            except BusUnavailable as error:
                self._log.warning("bus unavailable", session=self.machine.id, code=error.code)
                await asyncio.sleep(RETRY_S)

    async def _read_tail(self, effect: on.ReadTail) -> None:
        tail = await self._services.logs.tail(LogKey(effect.track, LogName.AUDIO))
        self.feed(on.TailRead(effect.track, tail))

    async def _read_record(self, session: Any) -> None:
        self.feed(on.RecordRead(await self._services.records.get(session)))

    async def _finish(self, effect: on.Finish) -> None:
        if effect.abandoned:
            await self._services.janitor.end(effect.record)
        else:
            await self._services.records.finish(effect.record, SessionState.ENDED)
            await self._services.tenants.leave(effect.record)

    async def _open(self, effect: on.Open) -> None:
        if not effect.admit:
            await self._ask(lambda: self._reopen(effect))
            return
        try:
            served = await self._admit(effect.record)
            record = self._as_served(effect.record, served)
            opened = await self._services.records.open(record, opening_entries(record))
            if opened is None:
                await self._services.tenants.leave(record, began=False)
                self.feed(on.OpenLost())
                return
            try:
                await self._services.admission.check(record, opened)
            except ClientError:
                await self._services.tenants.leave(record, began=False)
                await self._services.janitor.end(record)
                raise
        except ClientError as error:
            self.feed(on.Failed(error, Code.NO_CAPACITY))
        except BusUnavailable as error:
            self.feed(on.Failed(_unavailable(error), Code.TRY_LATER))
        else:
            self._services.metrics.opened.inc()
            self._log.info("session opened", session=record.id, tracks=len(record.tracks), kind=record.kind)
            self.feed(on.Opened(record, served.look_ahead_ms))
            self._services.newest(self)

    async def _admit(self, record: SessionRecord) -> Served:
        """The tenant's limits first: one that asks too often costs the others nothing."""
        await self._services.tenants.enter(record)
        try:
            return await self._services.admission.admit(record)
        except StenoflowError:
            await self._services.tenants.leave(record, began=False)
            raise

    async def _reopen(self, effect: on.Open) -> None:
        served = await self._services.admission.going_on(effect.record)
        record = self._as_served(effect.record, served)
        if await self._services.records.open(record, opening_entries(record)) is None:
            self.feed(on.OpenLost())
            return
        self._services.metrics.reopened.inc()
        self._log.warning("new epoch opened", session=record.id, bases=[track.base for track in record.tracks])
        self.feed(on.Opened(record, served.look_ahead_ms))
        self._services.newest(self)

    def _as_served(self, record: SessionRecord, served: Served) -> SessionRecord:
        return msgspec.structs.replace(
            record,
            epoch=new_epoch(self._services.clock.wall_ms()),
            bundle=served.bundle,
            features=served.features,
            second_pass=served.second_pass,
            retention_s=min(record.retention_s, self._services.retention_s),
        )

    async def _connect(self, effect: on.Connect) -> None:
        services = self._services
        if self.machine.state is State.CLOSED:
            return  # the client went; a newer connection of it must not lose to this one
        if not is_served(effect.session, services.shards):
            self._refuse_token(
                "the resume token names a session that cannot be one of this server's; start a new session"
            )
            return
        try:
            # Looked at before it is taken over: whoever may not have it must not cut off whoever has it.
            present = await services.records.get(effect.session)
            if present is not None and present.token_hash != hash_of(effect.token):
                self._refuse_token("the resume token does not fit its session; start a new session")
                return
            if present is not None and not self._grant.covers(present.id, present.tenant):
                sentence = "this session is another tenant's; resume it with a token of the tenant that began it"
                error = AccessError("other_tenant", sentence)
                self.feed(on.Failed(error, error.close))
                return
            if present is None and not made_here(effect.token, services.keys):
                # A session that Redis lost goes on past admission: it was admitted once. One that never was is not it.
                self._refuse_token("the resume token is none that this server gave; start a new session")
                return
            record = await services.records.connect(effect.session, hash_of(effect.token))
            tails = [
                (
                    await services.logs.tail(LogKey(track, LogName.AUDIO)),
                    await services.logs.tail(LogKey(track, LogName.FINALS)),
                )
                for track in (record.track_keys() if record is not None else ())
            ]
            look_ahead_ms = 0 if record is None else (await services.admission.going_on(record)).look_ahead_ms
        except BusUnavailable as error:
            self.feed(on.Failed(_unavailable(error), Code.TRY_LATER))
            return
        services.metrics.resumed.inc()
        self._log.info("session resumed", session=effect.session, known=record is not None)
        self.feed(on.Connected(record, tails, look_ahead_ms))
        services.newest(self)

    def _refuse_token(self, sentence: str) -> None:
        self.feed(on.Failed(ClientError("unknown_token", sentence), Code.NO_SESSION))


def _unavailable(error: BusUnavailable) -> StenoflowError:
    return StenoflowError(
        error.code, "captions cannot be had just now; try again", retryable=True, retry_after_ms=error.retry_after_ms
    )
