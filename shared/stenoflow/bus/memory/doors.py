"""Tickets and what tenants have open, in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stenoflow.bus.doors import MINUTE_MS, SILENT_MS, OpenSession, Standing
from stenoflow.bus.memory.state import State


class MemoryDoors:
    """The port :class:`stenoflow.bus.doors.Doors`.

    Args:
        state: of the pretended server.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def keep_ticket(self, digest: str, content: bytes, ttl_s: int) -> None:
        """See the port."""
        self._state.look_before_write()
        self._state.tickets[digest] = (self._state.clock.monotonic() + ttl_s, content)

    async def take_ticket(self, digest: str) -> bytes | None:
        """See the port."""
        self._state.look()
        expires_at, content = self._state.tickets.pop(digest, (0.0, b""))
        return content if self._state.clock.monotonic() < expires_at else None

    async def enter(self, tenant: str, session: OpenSession, now_ms: int) -> Standing:
        """See the port."""
        self._state.look_before_write()
        opened = self._state.opened.setdefault(tenant, {})
        begun = self._state.begun.setdefault(tenant, {})
        opened[session] = begun[session.id] = now_ms
        for old in [each for each, at in opened.items() if at < now_ms - SILENT_MS]:
            del opened[old]
        for past in [each for each, at in begun.items() if at < now_ms - MINUTE_MS]:
            del begun[past]
        return Standing(len(opened), sum(each.tracks for each in opened), len(begun), min(begun.values()))

    async def leave(self, tenant: str, session: OpenSession, *, began: bool) -> None:
        """See the port."""
        self._state.look()
        self._state.opened.get(tenant, {}).pop(session, None)
        if not began:
            self._state.begun.get(tenant, {}).pop(session.id, None)

    async def touch(self, sessions: Mapping[str, Collection[OpenSession]], now_ms: int) -> None:
        """See the port."""
        self._state.look_before_write()
        for tenant, each in sessions.items():
            self._state.opened.setdefault(tenant, {}).update(dict.fromkeys(each, now_ms))
