"""Rate, errors and duration of HTTP requests. The stream's sockets are measured where they are served."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stenoflow_gateway.measures.metrics import GatewayMetrics

PAGE = "page"
"""What no route of the API answers: files of the page, and what is not there."""


class HttpMetrics:
    """Middleware that notes each request.

    Args:
        app: what answers.
        metrics: where it is noted.
    """

    def __init__(self, app: ASGIApp, metrics: Callable[[], GatewayMetrics]) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers for an application that fell over
        began = time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", PAGE)  # the pattern: an address would make a series of its own
            self._metrics().request(route, scope["method"], status, time.monotonic() - began)
