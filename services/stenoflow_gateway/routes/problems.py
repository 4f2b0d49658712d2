"""Typed errors as answers: JSON over HTTP, an ``error`` and a close code on a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Response, WebSocket
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketState

from stenoflow.base.errors import BusUnavailable, ClientError, StenoflowError
from stenoflow.protocol.messages import SUBPROTOCOL, Error
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.session.events import Code

STATUS: Mapping[str, int] = {
    "unknown_session": 404,
    "oversized_file": 413,
    "file_too_long": 413,
    "unreadable_audio": 415,
    "at_capacity": 429,
    "too_many_files": 429,
    "no_workers": 503,
}
"""HTTP status by code; other errors of the caller's are 400, what may be mended by waiting is 503."""


async def on_error(connection: HTTPConnection, error: Exception) -> Response | None:
    """The application's handler of typed errors."""
    assert isinstance(error, StenoflowError)
    if isinstance(error, BusUnavailable):
        error = BusUnavailable("Redis cannot be used now; try again", error.code)
    if isinstance(connection, WebSocket):
        await _tell_socket(connection, error)
        return None
    return _answer(error)


def _answer(error: StenoflowError) -> Response:
    """As JSON: ``code``, ``message``, ``retryable``, ``retry_after_ms``."""
    if isinstance(error, AccessError):
        status = error.status
    else:
        status = STATUS.get(error.code, 400 if isinstance(error, ClientError) and not error.retryable else 503)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    body = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "retry_after_ms": error.retry_after_ms,
    }
    return JSONResponse(body, status, headers)


async def _tell_socket(socket: WebSocket, error: StenoflowError) -> None:
    if isinstance(error, AccessError):
        close = error.close
    else:
        close = Code.TRY_LATER if isinstance(error, BusUnavailable) else Code.NO_SESSION
    if error.code != "foreign_page":  # that one is not let in to hear a reason: HTTP 403
        if socket.application_state is WebSocketState.CONNECTING:
            offered = socket.scope.get("subprotocols", ())
            await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        message = Error(
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            retry_after_ms=error.retry_after_ms,
        )
        await socket.send_text(message.model_dump_json())
    await socket.close(close)
