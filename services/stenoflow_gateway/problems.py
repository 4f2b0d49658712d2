"""Typed errors as answers over HTTP, and the callers that get none: pages of other sites."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection

from stenoflow.base.errors import BusUnavailable, ClientError, StenoflowError
from stenoflow_gateway.settings import LOOPBACK, GatewaySettings

STATUS: Mapping[str, int] = {
    "unknown_session": 404,
    "foreign_page": 403,
    "oversized_file": 413,
    "file_too_long": 413,
    "unreadable_audio": 415,
    "at_capacity": 429,
    "too_many_files": 429,
    "no_workers": 503,
}
"""HTTP status by code; other errors of the caller's are 400, what may be mended by waiting is 503."""


def answer(error: StenoflowError) -> Response:
    """A typed error as JSON: ``code``, ``message``, ``retryable``."""
    status = STATUS.get(error.code, 400 if isinstance(error, ClientError) and not error.retryable else 503)
    body = {"code": error.code, "message": error.message, "retryable": error.retryable}
    headers = {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    return JSONResponse(body, status, headers)


async def on_error(_: Request, error: Exception) -> Response:
    """The application's handler of typed errors."""
    assert isinstance(error, StenoflowError)
    if isinstance(error, BusUnavailable):
        error = BusUnavailable("Redis cannot be used now; try again", error.code)
    return answer(error)


def check_page(connection: HTTPConnection, settings: GatewaySettings) -> None:
    """Refuses pages of other sites: programs send no ``Origin``, and a foreign name made to point here is not known.

    Raises:
        ClientError: ``foreign_page``.
    """
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    known = (urlsplit(f"//{host}").hostname or "") in (*LOOPBACK, *settings.hosts)
    if (origin is not None and urlsplit(origin).netloc != host) or not (known or "authorization" in connection.headers):
        raise ClientError(
            "foreign_page", f"this gateway is not known as {host[:80]!r}: use 127.0.0.1, or list the name as a host"
        )
