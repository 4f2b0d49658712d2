"""Limits per tenant, counted in Redis, so that any number of gateways hold to them together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from stenoflow.base.clock import Clock
from stenoflow.base.errors import ClientError
from stenoflow.bus.doors import MINUTE_MS, Doors, OpenSession, Standing
from stenoflow.bus.records import SessionRecord

RETRY_AFTER_MS = 2_000
"""When a tenant that has all that it may have may ask again: calls end within seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What each tenant may have; None is no limit.

    Args:
        sessions: that are open at once.
        tracks: of these together.
        begun_per_minute: new sessions in any minute.
    """

    sessions: int | None = None
    tracks: int | None = None
    begun_per_minute: int | None = None


class Tenants:
    """Counts what tenants have open. Sessions without a tenant (a gateway without a secret) are nobody's.

    Args:
        doors: where it is counted.
        limits: the same for every tenant.
        clock: time.
    """

    def __init__(self, doors: Doors, limits: Limits, clock: Clock) -> None:
        self._doors = doors
        self._limits = limits
        self._clock = clock
        self._counts = limits != Limits()

    async def enter(self, record: SessionRecord) -> None:
        """Counts a session that is to begin.

        Raises:
            ClientError: ``tenant_limit``; it is not counted then.
            BusUnavailable: Redis does not answer.
        """
        if not self._counts or not record.tenant:
            return
        now_ms = self._clock.wall_ms()
        standing = await self._doors.enter(record.tenant, _counted(record), now_ms)
        error = self._beyond(standing, now_ms)
        if error is not None:
            await self.leave(record, began=False)
            raise error

    async def leave(self, record: SessionRecord, *, began: bool = True) -> None:
        """A session is over, or (``began`` false) did not begin.

        Raises:
            BusUnavailable: Redis does not answer; it stops counting by itself after two minutes.
        """
        if self._counts and record.tenant:
            await self._doors.leave(record.tenant, _counted(record), began=began)

    async def touch(self, records: Collection[SessionRecord]) -> None:
        """Signs of life of sessions that have a socket here.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        by_tenant: dict[str, list[OpenSession]] = {}
        for record in records:
            if record.tenant:
                by_tenant.setdefault(record.tenant, []).append(_counted(record))
        if self._counts and by_tenant:
            await self._doors.touch(by_tenant, self._clock.wall_ms())

    def _beyond(self, standing: Standing, now_ms: int) -> ClientError | None:
        limits = self._limits
        if limits.begun_per_minute is not None and standing.begun > limits.begun_per_minute:
            wait_ms = max(100, standing.oldest_ms + MINUTE_MS - now_ms)
            return _tenant_limit(f"begins {limits.begun_per_minute} sessions a minute at most", wait_ms)
        if limits.sessions is not None and standing.sessions > limits.sessions:
            return _tenant_limit(f"has {limits.sessions} sessions open at most", RETRY_AFTER_MS)
        if limits.tracks is not None and standing.tracks > limits.tracks:
            return _tenant_limit(f"has {limits.tracks} tracks open at most", RETRY_AFTER_MS)
        return None


def _counted(record: SessionRecord) -> OpenSession:
    return OpenSession(record.id, len(record.tracks))


def _tenant_limit(rule: str, wait_ms: int) -> ClientError:
    return ClientError(
        "tenant_limit",
        f"a tenant {rule}; end a call, or try again in {-(-wait_ms // 1000)} s",
        retryable=True,
        retry_after_ms=wait_ms,
    )
