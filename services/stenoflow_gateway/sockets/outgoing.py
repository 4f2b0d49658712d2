"""One socket's way out: an outbox, the task that empties it, and the close in the end. Slow readers are given up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable
from typing import Any, Protocol

import structlog

from stenoflow.protocol import messages as wire
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.session.events import Code
from stenoflow_gateway.sockets.outbox import STUCK_S, Outbox

CLOSE_S = 1.0
"""How long a client may take to read what is left when its socket is closed."""

NOT_READ = wire.Error(
    code="slow_reader",
    message="captions wait here unread for too long, so this connection is closed; read on, and connect again",
    retryable=True,
).model_dump_json()


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


class Outgoing:
    """What is on its way to one socket.

    Args:
        socket: accepted.
        session: for the log.
        metrics: counts messages and close codes.
    """

    def __init__(self, socket: Socket, session: str, metrics: GatewayMetrics) -> None:
        self._socket = socket
        self._metrics = metrics
        self._outbox = Outbox()
        self._some = asyncio.Event()
        self._log = structlog.get_logger().bind(session=session)
        self.closing: int | None = None

    def put(self, text: str, key: Hashable = None) -> None:
        """Sends soon; what waits under the same key gives way."""
        self._outbox.put(text, key)
        if self._outbox.overflows and self.closing is None:
            self._outbox.put(NOT_READ)
            self.close(Code.SLOW_READER)
        self._some.set()

    def close(self, code: int) -> None:
        """Closes once all before it is sent."""
        self.closing = code
        self._metrics.closed(code)
        self._some.set()

    async def run(self) -> None:
        """Sends until the socket is closed or lost."""
        try:
            while True:
                await self._some.wait()
                self._some.clear()
                while (text := self._outbox.take()) is not None:
                    limit = STUCK_S if self.closing is None else CLOSE_S
                    async with asyncio.timeout(limit):
                        await self._socket.send_text(text)
                    self._metrics.sent(text)
                if self.closing is not None:
                    async with asyncio.timeout(CLOSE_S):
                        await self._socket.close(self.closing)
                    return
        except TimeoutError:
            self.closing = Code.SLOW_READER
            self._metrics.closed(Code.SLOW_READER)
            self._log.warning("client does not read", waiting=len(self._outbox))
            # Both behind what is under way already: whoever reads on after all learns why nothing more comes.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.send_text(NOT_READ)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close(Code.SLOW_READER)
        except Exception as error:  # starlette says in several ways that the peer is gone; nothing is left to do here
            self._log.debug("socket lost", kind=type(error).__name__)
