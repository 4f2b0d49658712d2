"""The port to what all gateways share at their doors: one-use tickets, and what each tenant has open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from stenoflow.base.ids import SessionId

MINUTE_MS = 60_000

SILENT_MS = 120_000
"""A session whose gateway gave no sign of it for so long does not count any more: whoever spoke for it is gone. Twice
the time after which it would have been ended."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """What counts of a session for its tenant."""

    id: SessionId
    tracks: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tenant has, the newest session included.

    Args:
        sessions: that are open.
        tracks: of these.
        begun: sessions in the last minute.
        oldest_ms: wall clock of the first of those.
    """

    sessions: int
    tracks: int
    begun: int
    oldest_ms: int


class Doors(Protocol):
    """Every method may raise :class:`stenoflow.base.errors.BusUnavailable`."""

    async def keep_ticket(self, digest: str, content: bytes, ttl_s: int) -> None:
        """Keeps what a ticket grants, by the ticket's hash, until it is taken or ``ttl_s`` are over."""
        ...

    async def take_ticket(self, digest: str) -> bytes | None:
        """What a ticket grants, to the first who asks; None to all others."""
        ...

    async def enter(self, tenant: str, session: OpenSession, now_ms: int) -> Standing:
        """Counts a session that is to begin, and says how the tenant stands with it, in one transaction.

        Whoever finds it one too many takes it back with :meth:`leave`.
        """
        ...

    async def leave(self, tenant: str, session: OpenSession, *, began: bool) -> None:
        """A session does not count any more; if it never began, then not among those of the last minute either."""
        ...

    async def touch(self, sessions: Mapping[str, Collection[OpenSession]], now_ms: int) -> None:
        """Signs of life of open sessions, by tenant; also brings back what Redis has forgotten."""
        ...
