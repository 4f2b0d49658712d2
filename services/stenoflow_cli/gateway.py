"""A gateway over HTTP and as a watcher: what `sessions` and `doctor` ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

import websockets

from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire
from stenoflow_cli.address import PATH, stream_address
from stenoflow_cli.streaming import OPEN_S


class GatewayClient:
    """One gateway.

    Args:
        given: its address, as people write it.
        token: an access token, where it asks for one.

    Raises:
        ConfigError: ``bad_address``.
    """

    def __init__(self, given: str, token: str | None = None) -> None:
        stream = urlsplit(stream_address(given))
        before = stream.path.removesuffix(PATH)
        self._token = token
        self._sockets = stream._replace(path=before, query="").geturl()
        self.page = stream._replace(scheme=stream.scheme.replace("ws", "http"), path=before, query="").geturl()

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON of a route.

        Raises:
            ClientError: what the gateway says, or ``unreachable`` or ``not_a_gateway``.
        """
        return await asyncio.to_thread(self._get, path, query)

    def _get(self, path: str, query: dict[str, str | int]) -> Any:
        address = f"{self.page}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            with urlopen(Request(address, headers=headers), timeout=OPEN_S) as response:
                return json.load(response)
        except HTTPError as error:
            raise _told(self.page, error) from None
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        except ValueError:
            raise ClientError("not_a_gateway", f"what answers at {self.page} is no Stenoflow gateway") from None

    async def text(self, path: str) -> tuple[int, str]:
        """Status and text of a route that needs no token, whatever the status.

        Raises:
            ClientError: ``unreachable``.
        """
        return await asyncio.to_thread(self._text, path)

    def _text(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"{self.page}{path}", timeout=OPEN_S) as response:
                return 200, response.read().decode(errors="replace")
        except HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> ClientError:
        reason = getattr(error, "reason", error)
        return ClientError("unreachable", f"{self.page} cannot be reached ({reason}): check --url")

    async def watch(self, session: str) -> AsyncIterator[Any]:
        """A session's messages as a watcher gets them, until ``ended`` or an ``error``, which is the last one.

        A connection that breaks ends it without either: connect again, and finals come again from the first.
        """
        headers = None if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            async with websockets.connect(
                f"{self._sockets}/v1/sessions/{session}/captions",
                subprotocols=[websockets.Subprotocol(wire.SUBPROTOCOL)],
                additional_headers=headers,
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=1,
            ) as socket:
                async for text in socket:
                    yield wire.parse_server(text)
        except (OSError, websockets.WebSocketException):
            return


def _told(page: str, error: HTTPError) -> ClientError:
    """The error in an answer's body; of a stranger's answer, that it is one."""
    try:
        body = json.load(error)
        return ClientError(body["code"], body["message"], retryable=bool(body.get("retryable")))
    except (ValueError, KeyError, TypeError):
        return ClientError(
            "not_a_gateway",
            f"what answers at {page} is no Stenoflow gateway (HTTP {error.code}): name yours with --url",
        )
