"""Who may do what. As yet everything listens on loopback alone, and whoever reaches it may do all."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do.

    Args:
        tenant: whose sessions; empty where there are no tenants.
        scopes: ``publish``, ``watch``.
        session: the one session that it is for; None for all of the tenant's.
    """

    tenant: str = ""
    scopes: frozenset[str] = frozenset({"publish", "watch"})
    session: str | None = None


class Access:
    """Grants everything."""

    def __call__(self, connection: HTTPConnection, scope: str) -> Grant:
        """The caller's grant for a scope."""
        return Grant()
