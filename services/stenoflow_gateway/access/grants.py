"""What a caller may do. Pure: the session machine knows it too."""

from __future__ import annotations

from dataclasses import dataclass

PUBLISH, WATCH = "publish", "watch"

SCOPES = frozenset({PUBLISH, WATCH})
"""``publish``: bring calls. ``watch``: read captions, transcripts and the list of sessions."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one request or socket was granted.

    Args:
        tenant: whose sessions these are; empty where the gateway has no secret, and so no tenants.
        scopes: of :data:`SCOPES`.
        session: the one session that it is for; None for any of the tenant.
        expires_at: seconds since the epoch; None where it does not.
        ticket: whether it came by a one-use ticket, which makes no others.
    """

    tenant: str
    scopes: frozenset[str]
    session: str | None = None
    expires_at: float | None = None
    ticket: bool = False

    def covers(self, session: str, tenant: str) -> bool:
        """Whether this is for a session of a tenant, as its record names both. Who is not covered learns no more."""
        return tenant == self.tenant and self.session in (None, session)


OPEN = Grant("", SCOPES)
"""Everybody's, at a gateway without a secret."""
