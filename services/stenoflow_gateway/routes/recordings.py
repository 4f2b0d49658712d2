"""Recordings over HTTP: ``POST /v1/files`` takes one, and answers with its captions as server-sent events.

A recording is a call like any other: it goes through the client's machine into a socket of this process, so window,
marks and errors are those of the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from stenoflow.audio.files import AudioFile, open_audio, track_names
from stenoflow.base.errors import ClientError, StenoflowError
from stenoflow.base.ids import SessionId
from stenoflow.bus.records import SessionState
from stenoflow.protocol import messages as wire
from stenoflow.runtime.client import Link, Stream
from stenoflow_gateway.access.grants import PUBLISH, Grant
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.settings import GatewaySettings
from stenoflow_gateway.sockets.outbox import Outbox

TOLD = (wire.Started, wire.Progress, wire.Partial, wire.Final, wire.Warning, wire.Ended)
"""What is told of a recording; the rest of the protocol is for who streams."""

GIVE_UP_S = 30.0
"""How long a recording that has begun may be without captions, as when Redis restarts."""

EVENTS: dict[str, Any] = {
    "description": "Server-sent events, each named for its message: `started`, `progress`, `final`, in the end `ended` "
    "or `error`.",
    "content": {"text/event-stream": {}},
}


class Pipe:
    """A socket inside this process: what the gateway needs of a WebSocket on one side, a client's link on the other."""

    def __init__(self) -> None:
        self._up: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._down: asyncio.Queue[str | None] = asyncio.Queue(maxsize=16)

    async def receive(self) -> dict[str, Any]:
        """The next ASGI message."""
        return await self._up.get()

    async def send_text(self, data: str) -> None:
        """To the client."""
        await self._down.put(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Ends what the client reads."""
        await self._down.put(None)

    async def send(self, data: str | bytes) -> None:
        """To the gateway."""
        kind = "text" if isinstance(data, str) else "bytes"
        self._up.put_nowait({"type": "websocket.receive", kind: data})

    def hang_up(self) -> None:
        """The client goes."""
        self._up.put_nowait({"type": "websocket.disconnect"})

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while (text := await self._down.get()) is not None:
            yield text


class Recording:
    """One recording on its way through the stages.

    Args:
        gateway: serves its socket.
        grant: what its sender may do.
        audio: to be read.
        start: how its session begins.
    """

    def __init__(self, gateway: Gateway, grant: Grant, audio: AudioFile, start: wire.Start) -> None:
        self._gateway = gateway
        self._grant = grant
        self._audio = audio
        self._start = start
        self._session: SessionId | None = None
        self._outbox = Outbox()
        self._some = asyncio.Event()
        self._over = False
        self._given_up: StenoflowError | None = None
        self._task: asyncio.Task[Any] | None = None
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the session began; fails where it could not."""

    async def run(self) -> None:
        """Sends all of it; ends the session, also where it is cancelled."""
        self._task = asyncio.current_task()
        try:
            async with Stream(self._dial, self._start, self._hear, give_up_s=GIVE_UP_S) as call:
                blocks = self._audio.blocks()
                while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                    for track, samples in enumerate(block):
                        await call.say(track, samples)
                await call.finish()
        except StenoflowError as error:
            self._fail(error)
        except asyncio.CancelledError:
            if self._given_up is None:
                raise
            self._fail(self._given_up)
        finally:
            self._over = True
            self._some.set()
            if self._session is not None:
                await asyncio.shield(self._end(self._session))

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events, until it is over. A reader that is too slow gets the newest progress, and every final."""
        while True:
            while (text := self._outbox.take()) is not None:
                yield text
            if self._over:
                return
            await self._some.wait()
            self._some.clear()

    async def _end(self, session: SessionId) -> None:
        record = await self._gateway.records.get(session)
        if record is not None and record.state is SessionState.OPEN:
            await self._gateway.janitor.end(record)

    @contextlib.asynccontextmanager
    async def _dial(self, _: str | None) -> AsyncIterator[Link]:
        pipe = Pipe()
        serving = asyncio.create_task(self._gateway.serve(pipe, self._grant))
        try:
            yield pipe
        finally:
            pipe.hang_up()
            await asyncio.shield(serving)

    def _hear(self, message: wire.Message) -> None:
        if isinstance(message, wire.Reconnect):  # HTTP cannot be moved to another gateway
            sentence = "this gateway is leaving; send the file again"
            self._give_up(ClientError("gateway_leaving", sentence, retryable=True, retry_after_ms=1000))
        if isinstance(message, wire.Error) and not self.begun.done():  # whoever sent it may try again
            after = message.retry_after_ms
            self._give_up(ClientError(message.code, message.message, retryable=message.retryable, retry_after_ms=after))
        if isinstance(message, wire.Ended):
            self._session = None
        if isinstance(message, wire.Started):
            self._session = SessionId(message.session)
            if not self.begun.done():
                self.begun.set_result(None)
        if isinstance(message, TOLD):
            fields = message.model_dump(mode="json", by_alias=True, exclude={"resume_token"})
            self._tell(fields["type"], fields, superseded=isinstance(message, wire.Progress))

    def _give_up(self, error: StenoflowError) -> None:
        assert self._task is not None
        self._given_up = error
        self._task.cancel()

    def _fail(self, error: StenoflowError) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)
            return
        message = wire.Error(
            code=error.code, message=error.message, retryable=error.retryable, retry_after_ms=error.retry_after_ms
        )
        self._tell("error", message.model_dump(mode="json"))

    def _tell(self, event: str, fields: dict[str, Any], *, superseded: bool = False) -> None:
        text = f"event: {event}\ndata: {json.dumps(fields, ensure_ascii=False)}\n\n"
        self._outbox.put(text, event if superseded else None)
        self._some.set()


def make_routes(gateway: Gateway, settings: GatewaySettings) -> APIRouter:
    """The route."""
    routes = APIRouter()
    at_once = asyncio.Semaphore(settings.files_at_once)

    @contextlib.asynccontextmanager
    async def place() -> AsyncIterator[None]:
        if at_once.locked():
            sentence = f"{settings.files_at_once} files are being read here already; try again later"
            raise ClientError("too_many_files", sentence, retryable=True, retry_after_ms=5000)
        async with at_once:
            yield

    @routes.post(
        "/v1/files",
        summary="Captions of a recording",
        response_class=StreamingResponse,
        responses={
            200: EVENTS,
            400: {"description": "It holds no sound, or the request is wrong."},
            413: {"description": "Larger or longer than is taken."},
            415: {"description": "No audio that can be read."},
            429: {"description": "No place now; `Retry-After` says when to try again."},
            503: {"description": "Redis or a stage cannot be used now; try again."},
        },
        openapi_extra={"requestBody": {"content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def post_file(
        request: Request,
        title: Annotated[str, Query(min_length=1, max_length=64, description="what a single track is called")] = "file",
        bundle: Annotated[str | None, Query(description="the model, by name")] = None,
        second_pass: Annotated[str | None, Query(min_length=1, max_length=64, description="`off` for none")] = None,
        retention_s: Annotated[int | None, Query(ge=60, description="how long captions are kept")] = None,
        partials: Annotated[bool, Query(description="whether `partial` events come")] = False,
    ) -> Response:
        """Takes a recording (WAV, FLAC, Ogg, Opus, MP3) as the request's body; each channel is a track.

        The answer streams while it is written down. The session stays under `/v1/sessions` as long as it is kept.
        """
        grant = request.app.state.access(request, PUBLISH)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(place())
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stenoflow-"))) / "recording"
            try:
                await _receive(request, path, settings.file_mb)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            audio = await asyncio.to_thread(open_audio, path, "the file")
            if audio.seconds > settings.file_h * 3600:
                sentence = f"the file is {audio.seconds / 3600:.1f} h long; at most {settings.file_h:g} h are taken"
                raise ClientError("file_too_long", sentence)
            start = wire.Start(
                kind="file",
                tracks=tuple(
                    wire.TrackRequest(name=name, sample_rate=audio.sample_rate, duration_s=audio.seconds)
                    for name in track_names(audio, title)
                ),
                bundle=bundle,
                second_pass=second_pass,
                partials=partials,
                retention_s=retention_s,
            )
            recording = Recording(gateway, grant, audio, start)
            running = asyncio.create_task(recording.run())
            stack.push_async_callback(_stop, running)
            await asyncio.wait({recording.begun, running}, return_when=asyncio.FIRST_COMPLETED)
            if not recording.begun.done():
                running.result()  # a bug, which must not go unseen
            recording.begun.result()
            rest = stack.pop_all()
        return StreamingResponse(
            _closing(rest, recording), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    return routes


async def _receive(request: Request, path: Path, most_mb: int) -> None:
    """The request's body into a file.

    Raises:
        ClientError: ``oversized_file``.
    """
    most = most_mb * 1024 * 1024
    received = int(request.headers.get("content-length", "0"))
    too_large = ClientError("oversized_file", f"the file is larger than the {most_mb} MB that are taken; cut it")
    if received > most:
        raise too_large
    received = 0
    with path.open("wb") as file:
        async for piece in request.stream():
            received += len(piece)
            if received > most:
                raise too_large
            file.write(piece)


async def _stop(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _closing(stack: contextlib.AsyncExitStack, recording: Recording) -> AsyncIterator[str]:
    async with stack:
        async for text in recording.events():
            yield text
