"""Tickets and what tenants have open, in Redis. Each tenant's two keys share a slot, and so a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from stenoflow.bus.doors import MINUTE_MS, SILENT_MS, OpenSession, Standing
from stenoflow.bus.records import TTL_S
from stenoflow.bus.redis.connection import Links, pack
from stenoflow.bus.redis.errors import checked
from stenoflow.bus.redis.keys import begun_key, open_key, ticket_key
from stenoflow.bus.redis.transaction import transact


class RedisDoors:
    """The port :class:`stenoflow.bus.doors.Doors`.

    Args:
        pool: links that no reader uses.
    """

    def __init__(self, pool: Links) -> None:
        self._pool = pool

    async def keep_ticket(self, digest: str, content: bytes, ttl_s: int) -> None:
        """See the port."""
        replies = await self._pool.ask([pack(b"SET", ticket_key(digest), content, b"EX", ttl_s)])
        checked(replies[0])

    async def take_ticket(self, digest: str) -> bytes | None:
        """See the port. One command takes and deletes, so of several gateways one gets it."""
        replies = await self._pool.ask([pack(b"GETDEL", ticket_key(digest))])
        return cast(bytes | None, checked(replies[0]))

    async def enter(self, tenant: str, session: OpenSession, now_ms: int) -> Standing:
        """See the port."""
        opened, begun = open_key(tenant), begun_key(tenant)
        async with self._pool.borrow(opened) as link:
            results = await transact(
                link,
                [
                    pack(b"ZREMRANGEBYSCORE", opened, b"-inf", f"({now_ms - SILENT_MS}"),
                    pack(b"ZADD", opened, now_ms, _member(session)),
                    pack(b"EXPIRE", opened, TTL_S),
                    pack(b"ZREMRANGEBYSCORE", begun, b"-inf", f"({now_ms - MINUTE_MS}"),
                    pack(b"ZADD", begun, now_ms, session.id),
                    pack(b"EXPIRE", begun, TTL_S),
                    pack(b"ZRANGE", opened, 0, -1),
                    pack(b"ZCARD", begun),
                    pack(b"ZRANGE", begun, 0, 0, b"WITHSCORES"),
                ],
            )
        assert results is not None, "nothing is watched"
        members, count, oldest = cast(tuple[list[bytes], int, list[bytes]], tuple(results[-3:]))
        tracks = sum(int(member.rpartition(b":")[2]) for member in members)
        return Standing(len(members), tracks, count, int(float(oldest[1])))

    async def leave(self, tenant: str, session: OpenSession, *, began: bool) -> None:
        """See the port."""
        commands = [pack(b"ZREM", open_key(tenant), _member(session))]
        if not began:
            commands.append(pack(b"ZREM", begun_key(tenant), session.id))
        for reply in await self._pool.ask(commands):
            checked(reply)

    async def touch(self, sessions: Mapping[str, Collection[OpenSession]], now_ms: int) -> None:
        """See the port."""
        commands: list[bytes] = []
        for tenant, each in sessions.items():
            scored = [part for session in each for part in (now_ms, _member(session))]
            commands += [pack(b"ZADD", open_key(tenant), *scored), pack(b"EXPIRE", open_key(tenant), TTL_S)]
        for reply in await self._pool.ask(commands):
            checked(reply)


def _member(session: OpenSession) -> str:
    return f"{session.id}:{session.tracks}"
