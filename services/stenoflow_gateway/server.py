"""uvicorn as this gateway wants it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

MAX_MESSAGE = 256 * 1024
"""Longest WebSocket message, bytes: 2 s of sound at 48 kHz, and some."""


class Server(uvicorn.Server):
    """Signals are the gateway's own: uvicorn would close sockets before they heard where to go."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield

    def stop_accepting(self) -> None:
        """New callers wait in the supervisor's socket, for the next gateway."""
        for accepting in self.servers:
            accepting.close()


def make_server(app: FastAPI, ping_s: float = 20.0) -> Server:
    """A server for the application; :meth:`Server.serve` takes the listening socket.

    Args:
        app: the application.
        ping_s: how often sockets are pinged, and how long they may take to answer.
    """
    return Server(
        uvicorn.Config(
            app,
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE,
            ws_ping_interval=ping_s,
            ws_ping_timeout=ping_s,
            ws_per_message_deflate=False,  # it costs memory by the megabyte a socket (PAINS 13)
            log_config=None,
            access_log=False,
            log_level="warning",  # below it addresses and headers are logged, and tokens stand in headers
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
