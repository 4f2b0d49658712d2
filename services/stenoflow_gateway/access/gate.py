"""Who may come in, for every route under ``/v1``: one line a route.

    grant = access(request, "watch")    # or a WebSocket; raises AccessError, which is answered by itself
    if not grant.covers(record.id, record.tenant): …

A credential (a bearer token, or a one-use ticket) comes in the ``Authorization`` header, or from browsers, which cannot
set headers on a WebSocket, as a second subprotocol ``bearer.<token>``. Never in the address: addresses are logged.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from stenoflow.base.errors import BusUnavailable, StenoflowError
from stenoflow_gateway.access.bearer import Keyring
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.access.grants import OPEN, Grant
from stenoflow_gateway.access.tickets import PREFIX, Tickets
from stenoflow_gateway.settings import LOOPBACK

__all__ = ["Access", "AccessMiddleware"]

GUARDED = "/v1/"
"""All below it asks for a credential; the page, its files, health and metrics do not."""

SECRETS = frozenset({"token", "access_token", "ticket", "bearer", "authorization", "jwt", "key", "api_key", "apikey"})
"""Names of parameters that people put secrets into."""

_FOUND = "stenoflow.grant"


class Access:
    """Says what a request or a socket may do.

    Args:
        keys: what tokens are signed with; None: all is open, for this machine alone can reach the gateway.
        tickets: one-use tickets.
        origins: of other pages that may come in, besides those that came from this gateway itself.
    """

    def __init__(self, keys: Keyring | None, tickets: Tickets, origins: Collection[str]) -> None:
        self._keys = keys
        self._tickets = tickets
        self._origins = frozenset(origins)
        self._names = {*LOOPBACK, *(urlsplit(origin).hostname for origin in origins)}

    def __call__(self, connection: HTTPConnection, scope: str) -> Grant:
        """The grant of a request or a WebSocket, where it has the scope.

        Args:
            connection: a request or a WebSocket on a route under :data:`GUARDED`.
            scope: ``publish`` or ``watch``.

        Raises:
            AccessError: ``unauthorized``, ``token_expired``, ``forbidden``, ``foreign_page`` or ``token_in_address``.
            BusUnavailable: a ticket could not be looked up.
        """
        grant = self.identify(connection)
        if scope not in grant.scopes:
            has = " and ".join(sorted(grant.scopes)) or "nothing"
            raise AccessError("forbidden", f"this needs the scope '{scope}'; the token is for {has}")
        return grant

    def identify(self, connection: HTTPConnection) -> Grant:
        """The same, whatever its scopes.

        Raises:
            AccessError: as :meth:`__call__`, but ``forbidden``.
            BusUnavailable: a ticket could not be looked up.
        """
        self._check_page(connection)
        assert _FOUND in connection.scope, f"only routes below {GUARDED} have a grant"
        found: Grant | StenoflowError = connection.scope[_FOUND]
        if isinstance(found, StenoflowError):
            raise found
        return found

    async def look(self, connection: HTTPConnection) -> Grant | StenoflowError:
        """Reads the credential of a request; a ticket is used up by it."""
        try:
            _check_address(connection)
            if self._keys is None:
                return OPEN
            credential = _credential(connection)
            if credential.startswith(PREFIX):
                return await self._tickets.take(credential)
            return self._keys.grant(credential)
        except (AccessError, BusUnavailable) as error:
            return error

    def _check_page(self, connection: HTTPConnection) -> None:
        """Whether a browser's page may call. Programs send no ``Origin``; pages of other sites always do.

        A page that came from here may. Without a secret its name must be known too: a foreign name that was made to
        point here (DNS rebinding) has an origin of its own, and no ``Origin`` at all where it only reads.
        """
        origin, host = connection.headers.get("origin"), connection.headers.get("host", "")
        known = self._keys is not None or _name(f"//{host}") in self._names
        if origin is None:
            allowed = known or connection.scope["type"] == "websocket"
        else:
            allowed = origin in self._origins or (known and origin.partition("://")[2] == host != "")
        if allowed:
            return
        raise AccessError(
            "foreign_page", "pages of this origin may not call this gateway; name it in STENOFLOW_GATEWAY_ORIGINS"
        )


class AccessMiddleware:
    """Reads credentials before any route does, since a ticket is looked up in Redis.

    Args:
        app: what is guarded.
        access: what reads them.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(GUARDED):
            scope[_FOUND] = await self._access.look(HTTPConnection(scope))
        await self._app(scope, receive, send)


def _check_address(connection: HTTPConnection) -> None:
    for name, value in parse_qsl(connection.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name.lower() in SECRETS or value.startswith((PREFIX, "eyJ")):
            raise AccessError(
                "token_in_address",
                "a token must not stand in the address, which proxies and browsers write down: make a new one, and "
                "send it in the Authorization header, or as the WebSocket subprotocol bearer.<token>",
            )


def _credential(connection: HTTPConnection) -> str:
    header = connection.headers.getlist("authorization")
    found = [text.partition(" ")[2].strip() for text in header if text[:7].lower() == "bearer "]
    found += [
        each.removeprefix("bearer.") for each in connection.scope.get("subprotocols", ()) if each[:7] == "bearer."
    ]
    if not found:
        raise AccessError(
            "unauthorized",
            "this gateway asks for a token: send it in the Authorization header (Bearer …), or as the WebSocket "
            "subprotocol bearer.<token>",
        )
    if len(found) > 1:
        raise AccessError("unauthorized", f"{len(found)} tokens came; send one")
    return found[0]


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
