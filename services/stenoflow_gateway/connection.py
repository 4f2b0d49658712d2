"""One socket: carries the machine's effects out and tells it what came of them. Knows nothing of the protocol.

Everything here is the shell of :class:`stenoflow_gateway.session.Session`. Commands to Redis are never cancelled: what
they bring after the socket is gone meets a closed machine, which leaves it out.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol

import msgspec
import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable, ClientError, StenoflowError
from stenoflow.base.ids import new_epoch, new_session_id, shard_for
from stenoflow.bus.logs import LogKey, LogName, Logs
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import Records, SessionRecord, SessionState
from stenoflow.protocol import messages as wire
from stenoflow_gateway import events as on
from stenoflow_gateway.admission import Admission, Served
from stenoflow_gateway.appender import Appender
from stenoflow_gateway.events import Code, Effect, Event, Moment
from stenoflow_gateway.janitor import Janitor
from stenoflow_gateway.metrics import GatewayMetrics
from stenoflow_gateway.outbox import STUCK_S, Outbox
from stenoflow_gateway.reader import Readers
from stenoflow_gateway.session import Session
from stenoflow_gateway.states import State
from stenoflow_gateway.tokens import hash_of, make_token

RETRY_S = 0.2
"""Pause before Redis is asked again."""

CLOSE_S = 1.0
"""How long a client may take to read what is left when its socket is closed."""

BUG = 1011
"""Close code after a bug of ours."""


class Socket(Protocol):
    """What is needed of a WebSocket (starlette's)."""

    async def receive(self) -> Any:
        """The next ASGI message."""
        ...

    async def send_text(self, data: str) -> None:
        """Sends text; waits while the client does not read."""
        ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Closes."""
        ...


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
    windows: dict[str, float]
    shards: int

    def newest(self, connection: Connection) -> None:
        """This connection speaks for its session now; older ones here hear of it at once."""
        ...


class Connection:
    """One client's socket.

    Args:
        socket: accepted.
        services: what all share.
    """

    def __init__(self, socket: Socket, services: Services) -> None:
        session = new_session_id(shard_for(secrets.token_hex(4), services.shards))
        self._socket = socket
        self._services = services
        self.machine = Session(session, make_token(session, secrets.token_urlsafe(24)), services.windows, self._moment)
        self._outbox = Outbox()
        self._some = asyncio.Event()
        self._closing: int | None = None
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
        writer = asyncio.create_task(self._write())
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
            self._log.info("socket closed", session=self.machine.id, code=self._closing)

    def feed(self, event: Event) -> None:
        """Takes one event and carries out what follows from it."""
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

    async def _write(self) -> None:
        try:
            while True:
                await self._some.wait()
                self._some.clear()
                while (text := self._outbox.take()) is not None:
                    limit = STUCK_S if self._closing is None else CLOSE_S
                    async with asyncio.timeout(limit):
                        await self._socket.send_text(text)
                if self._closing is not None:
                    async with asyncio.timeout(CLOSE_S):
                        await self._socket.close(self._closing)
                    return
        except TimeoutError:
            self._closing = Code.SLOW_READER
            self._services.metrics.closed(Code.SLOW_READER)
            self._log.warning("client does not read", session=self.machine.id, waiting=len(self._outbox))
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close(Code.SLOW_READER)
        except Exception as error:  # starlette says in several ways that the peer is gone; nothing is left to do here
            self._log.debug("socket lost", session=self.machine.id, kind=type(error).__name__)

    def _put(self, text: str, key: Hashable = None) -> None:
        self._outbox.put(text, key)
        if self._outbox.overflows and self._closing is None:
            self._close(Code.SLOW_READER)
        self._some.set()

    def _close(self, code: int) -> None:
        self._closing = code
        self._services.metrics.closed(code)
        self._some.set()

    def _bug(self, error: Exception) -> None:
        where = traceback.extract_tb(error.__traceback__)[-1]
        self._log.error(
            "bug", session=self.machine.id, kind=type(error).__name__, where=f"{where.filename}:{where.lineno}"
        )
        self._services.readers.leave(self)
        self._close(BUG)

    # ------------------------------------------------------------------ effects

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case on.Send(message):
                self._send(message)
            case on.Forward(track, data, superseded):
                self._put(data.decode(), ("partial", track) if superseded else None)
            case on.Close(code):
                self._close(code)
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
        self._services.appender.append(
            LogKey(effect.track, LogName.AUDIO),
            effect.id,
            effect.entry,
            lambda outcome: self.feed(on.AppendDone(effect.track, outcome)),
        )

    def _send(self, message: wire.Message) -> None:
        key: Hashable = None
        match message:
            case wire.Ack() | wire.Progress() | wire.Latency():
                key = message.type
            case wire.Quality():
                key = ("quality", message.track)
            case wire.Error():
                self._services.metrics.error(message.code)
                self._log.info("client refused", session=self.machine.id, code=message.code)
            case _:
                pass
        self._put(message.model_dump_json(), key)

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

    async def _open(self, effect: on.Open) -> None:
        if not effect.admit:
            await self._ask(lambda: self._reopen(effect))
            return
        try:
            served = await self._services.admission.admit(effect.record)
            record = self._as_served(effect.record, served)
            opened = await self._services.records.open(record, opening_entries(record))
            if opened is None:
                self.feed(on.OpenLost())
                return
            try:
                await self._services.admission.check(record, opened)
            except ClientError:
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
        epoch = new_epoch(self._services.clock.wall_ms())
        return msgspec.structs.replace(
            record,
            epoch=epoch,
            bundle=served.bundle,
            second_pass=served.second_pass,
            features=served.features,
        )

    async def _connect(self, effect: on.Connect) -> None:
        services = self._services
        if self.machine.state is State.CLOSED:
            return  # the client went; a newer connection of it must not lose to this one
        try:
            record = await services.records.connect(effect.session, hash_of(effect.token))
            if record is None and await services.records.get(effect.session) is not None:
                sentence = "the resume token does not fit its session; start a new session"
                self.feed(on.Failed(ClientError("unknown_token", sentence), Code.NO_SESSION))
                return
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


def _unavailable(error: BusUnavailable) -> StenoflowError:
    return StenoflowError(
        error.code, "captions cannot be had just now; try again", retryable=True, retry_after_ms=error.retry_after_ms
    )
