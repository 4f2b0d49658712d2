"""Connections to a gateway over the network."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import GIVE_UP_S
from stenoflow.runtime import client
from stenoflow.runtime.client import Link

OPEN_S = 4.0
"""How long a connection may take to open; the machine gives up on it a second later."""


class Stream(client.Stream):
    """A session with a gateway elsewhere; see :class:`stenoflow.runtime.client.Stream`.

    Args:
        url: ``ws://host:port/v1/stream``.
        start: how the session begins.
        on_message: called with every message for the application, each final exactly once.
        give_up_s: how long the server may be out of reach; 0 fails at the first refusal.
        token: an access token, where the gateway asks for one.
    """

    def __init__(
        self,
        url: str,
        start: wire.Start,
        on_message: Callable[[Any], None],
        *,
        give_up_s: float = GIVE_UP_S,
        token: str | None = None,
    ) -> None:
        self._dial_url = dial(url)
        self._socket: ClientConnection | None = None
        super().__init__(self._connect, start, on_message, give_up_s=give_up_s, token=token)

    def cut(self) -> None:
        """Cuts the socket as a broken network does, without a word; the session goes on over another one."""
        if self._socket is not None:
            self._socket.transport.abort()

    @contextlib.asynccontextmanager
    async def _connect(self, token: str | None) -> AsyncIterator[Link]:
        async with self._dial_url(token) as link:
            self._socket = link.socket
            yield link


class WebSocketLink:
    """A WebSocket as a link.

    Args:
        socket: open.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, data: str | bytes) -> None:
        """Sends a text or a binary message.

        Raises:
            ConnectionResetError: it is closed.
        """
        try:
            await self.socket.send(data)
        except websockets.ConnectionClosed as error:
            raise ConnectionResetError(str(error)) from None

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        async for text in self.socket:
            yield text


def dial(url: str) -> Callable[[str | None], AbstractAsyncContextManager[WebSocketLink]]:
    """Connects to ``ws://host:port/v1/stream``, with an access token where there is one."""

    @contextlib.asynccontextmanager
    async def connect(token: str | None) -> AsyncIterator[WebSocketLink]:
        try:
            async with websockets.connect(
                url,
                subprotocols=[websockets.Subprotocol(wire.SUBPROTOCOL)],
                additional_headers=None if token is None else {"Authorization": f"Bearer {token}"},
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=1,
                max_size=2**20,
            ) as socket:
                yield WebSocketLink(socket)
        except websockets.WebSocketException as error:
            raise ConnectionError(str(error)) from None

    return connect
