"""HTTP around the gateway: the stream, tickets, capacity, health, metrics, the page and the sample call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.types import Scope

from stenoflow import __version__
from stenoflow.base.errors import BusUnavailable, StenoflowError
from stenoflow.protocol.messages import SUBPROTOCOL, Error
from stenoflow_gateway.access.gate import Access, AccessMiddleware
from stenoflow_gateway.access.grants import PUBLISH
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.measures.http import HttpMetrics
from stenoflow_gateway.routes import recordings, sessions, watching
from stenoflow_gateway.routes.latency import latency_route
from stenoflow_gateway.routes.problems import on_error
from stenoflow_gateway.routes.tickets import add_tickets
from stenoflow_gateway.session.events import Code
from stenoflow_gateway.settings import GatewaySettings

SAMPLE = "two-sided-call.flac"

PAGE_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'self'; connect-src 'self' ws: wss:"
)
"""What the page may load and where it may connect: its own host, and gateways."""

# What the routes' descriptions say of their answers; nothing else reads it.
NOT_READY = "Not ready; the body says what is lacking."
NO_SAMPLE = "The sample is not installed."
FLAC: dict[str, Any] = {"content": {"audio/flac": {}}}
CAPACITY: dict[str, Any] = {
    "description": "Calls and tracks that would be admitted.",
    "content": {
        "application/json": {
            "example": {
                "calls": 20,
                "tracks": 40,
                "stages": {"features": 118, "acoustic": 40, "decoder": 118},
                "bundles": {"en-small": 40, "telephone": 12},
                "second_passes": {"moonshine-tiny-en": 12},
            }
        }
    },
}


def make_app(gateway: Gateway, settings: GatewaySettings, failed: Callable[[], None] = lambda: None) -> FastAPI:
    """The ASGI application.

    Args:
        gateway: not yet running; it runs as long as the application does.
        settings: where the page is, what tokens are signed with, and whose pages may call.
        failed: called when a background task died of a bug: the process must end.

    Raises:
        ConfigError: the secret for tokens cannot be used.
    """
    access = Access(gateway.keys, gateway.tickets, settings.origins)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(gateway.run())
        running.add_done_callback(lambda task: None if task.cancelled() else failed())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    app = FastAPI(
        title="Stenoflow gateway",
        version=__version__,
        summary="What a gateway answers over HTTP, beside the stream of captions.",
        description="Calls themselves go over the WebSocket `/v1/stream`, which docs/reference/protocol.md describes. "
        "The page lies at `/`, its modules under `/js`.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # our own have other names, and say no word
        exception_handlers={StenoflowError: cast(Any, on_error)},  # told of sockets too
    )
    app.state.access = access
    app.add_middleware(AccessMiddleware, access=access)
    if settings.origins:
        headers = ["Authorization", "Content-Type"]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=headers,
        )
    add_tickets(app, gateway.tickets)

    app.add_middleware(HttpMetrics, metrics=lambda: gateway.metrics)
    app.include_router(sessions.make_routes(gateway))
    app.include_router(watching.make_routes(gateway))
    app.include_router(recordings.make_routes(gateway, settings))
    app.include_router(latency_route(lambda: gateway.history))

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        grant = access(socket, PUBLISH)
        if SUBPROTOCOL not in socket.scope.get("subprotocols", ()):
            await socket.accept()
            sentence = f"this server speaks the subprotocol {SUBPROTOCOL}; name it when you connect"
            error = Error(code="unknown_subprotocol", message=sentence, retryable=False)
            await socket.send_text(error.model_dump_json())
            await socket.close(Code.BAD_CLIENT)
            return
        await socket.accept(subprotocol=SUBPROTOCOL)
        await gateway.serve(socket, grant)

    @app.get("/healthz", summary="Alive", response_class=PlainTextResponse)
    async def healthz() -> PlainTextResponse:
        """Answers as long as the process lives, with or without Redis and workers."""
        return PlainTextResponse("ok\n")

    @app.get(
        "/readyz",
        summary="Ready for calls",
        response_class=PlainTextResponse,
        responses={503: {"description": NOT_READY}},
    )
    async def readyz() -> PlainTextResponse:
        """Whether calls can begin: Redis answers, each stage has a worker, and the gateway does not drain.

        The second line names the models of the second pass that are served, the third this gateway's version.
        """
        lacking = await gateway.not_ready()
        if lacking is not None:
            return PlainTextResponse(lacking + "\n", 503)
        try:
            models = await gateway.second_passes()
        except BusUnavailable as error:  # it went since the line before
            return PlainTextResponse(f"{error.message}\n", 503)
        return PlainTextResponse(f"ok\nsecond pass: {', '.join(models) or 'none'}\nversion: {__version__}\n")

    @app.get("/v1/capacity", summary="Room for more calls", responses={200: CAPACITY, 503: sessions.NO_REDIS})
    async def capacity(request: Request) -> dict[str, Any]:
        """How many more calls (of two tracks) and tracks would be admitted now: in all, by each stage, by each bundle
        of the first pass, and by each model of the second. The one after these is refused with `at_capacity`. `tracks`
        and `stages` are those of the bundle with most room.
        """
        access(request, PUBLISH)
        return (await gateway.admission.room()).as_json()

    @app.get("/metrics", summary="Metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """The gateway's metrics, in the text format of Prometheus."""
        return Response(generate_latest(gateway.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get(
        "/sample.flac",
        summary="A spoken sample",
        response_class=FileResponse,
        responses={200: FLAC, 404: {"description": NO_SAMPLE}},
    )
    async def sample() -> Response:
        """A spoken call with two sides, one on each channel, to try captions with."""
        path = settings.samples / SAMPLE
        if not path.is_file():
            return PlainTextResponse(f"{SAMPLE} is not installed\n", 404)
        return FileResponse(path, media_type="audio/flac")

    if (settings.web / "src").is_dir():
        app.mount("/js", PageFiles(directory=settings.web / "src"))
    if (settings.web / "public").is_dir():
        app.mount("/", PageFiles(directory=settings.web / "public", html=True))
    return app


class PageFiles(StaticFiles):
    """The page's files, with a policy under which nothing from elsewhere runs in it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See starlette."""
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
