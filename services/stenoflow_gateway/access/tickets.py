"""One-use tickets: what a page gets from its own server instead of a bearer token, which would outlive the page.

A ticket is random and means nothing by itself. What it grants lies in Redis under its hash, until the first gateway
that is shown it takes it out; so it works at any gateway, and once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from stenoflow.base.clock import Clock
from stenoflow.bus.doors import Doors
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.access.grants import Grant

PREFIX = "ticket_"
"""What tells a ticket from a bearer token, which has dots."""

TTL_S = 60
"""How long a ticket lies unused: a page opens its socket at once."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket that was just made.

    Args:
        text: what is passed as ``bearer.<text>``.
        scopes: what it grants.
        expires_in_s: how long it may lie unused.
    """

    text: str
    scopes: frozenset[str]
    expires_in_s: int


class _Content(msgspec.Struct, frozen=True):
    tenant: str
    scopes: tuple[str, ...]
    session: str | None
    expires_at: float | None


_decode = msgspec.json.Decoder(_Content).decode


class Tickets:
    """Makes tickets and takes them.

    Args:
        doors: where they lie.
        clock: time.
    """

    def __init__(self, doors: Doors, clock: Clock) -> None:
        self._doors = doors
        self._clock = clock

    async def make(self, grant: Grant, scopes: Collection[str] | None = None, session: str | None = None) -> Ticket:
        """A ticket for no more than its maker has.

        Args:
            grant: of who asks for it.
            scopes: what it is to grant; all of the maker's where left out.
            session: the one session that it is for.

        Raises:
            AccessError: ``forbidden``: it asks for more.
            BusUnavailable: Redis does not take it.
        """
        if grant.ticket:
            raise AccessError("forbidden", "a ticket makes no tickets; ask with a bearer token")
        wanted = grant.scopes if scopes is None else frozenset(scopes)
        if not wanted or not wanted <= grant.scopes:
            raise AccessError("forbidden", f"a ticket may have no more scopes than its token: {_listed(grant.scopes)}")
        if grant.session is not None and session not in (None, grant.session):
            raise AccessError("forbidden", "this token is for one session; a ticket made with it is for the same one")
        ttl_s = TTL_S
        if grant.expires_at is not None:
            ttl_s = max(1, min(TTL_S, round(grant.expires_at - self._clock.wall_ms() / 1000)))
        text = PREFIX + secrets.token_urlsafe(32)
        content = _Content(grant.tenant, tuple(sorted(wanted)), session or grant.session, grant.expires_at)
        await self._doors.keep_ticket(_digest(text), msgspec.json.encode(content), ttl_s)
        return Ticket(text, wanted, ttl_s)

    async def take(self, text: str) -> Grant:
        """What a ticket grants; it is used up by this.

        Raises:
            AccessError: ``unauthorized``.
            BusUnavailable: Redis does not answer.
        """
        content = await self._doors.take_ticket(_digest(text))
        if content is None:
            raise AccessError(
                "unauthorized", f"this ticket was used before, or is older than {TTL_S} s; get another one"
            )
        kept = _decode(content)
        return Grant(kept.tenant, frozenset(kept.scopes), kept.session, kept.expires_at, ticket=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _listed(scopes: Collection[str]) -> str:
    return ", ".join(sorted(scopes))
