"""Claims in memory: the pending list of a consumer group as a dictionary of leases."""

from __future__ import annotations

from collections.abc import Sequence

from stenoflow.bus.claims import Claim
from stenoflow.bus.memory.state import Lease, State
from stenoflow.bus.records import Stages

HANDED_OVER = float("-inf")
"""A delivery so long ago that every lease has run out."""


class MemoryClaims:
    """The port :class:`stenoflow.bus.claims.Claims` for one consumer.

    Args:
        state: of the pretended server.
        stage: whose claims.
        consumer: the worker's name.
        bundle: the claims stream's suffix, or empty.
        lease_s: seconds without renewal after which others may take over.
    """

    def __init__(self, state: State, stage: Stages, consumer: str, bundle: str, lease_s: float) -> None:
        self._state = state
        self._key = (stage, bundle)
        self._consumer = consumer
        self._lease_s = lease_s

    @property
    def _leases(self) -> dict[str, Lease]:
        self._state.look()
        return self._state.claims.get(self._key, {})

    def _deliver(self, claims: Sequence[tuple[str, Lease]]) -> list[Claim]:
        for _, lease in claims:
            lease.holder = self._consumer
            lease.since = self._state.clock.monotonic()
        return [Claim(claim_id, lease.track) for claim_id, lease in claims]

    async def take(self, places: int) -> Sequence[Claim]:
        """See the port."""
        assert places >= 1, "COUNT 0 would mean all of them"
        return self._deliver([item for item in self._leases.items() if item[1].holder is None][:places])

    async def renew(self) -> Sequence[Claim]:
        """See the port."""
        return self._deliver([item for item in self._leases.items() if item[1].holder == self._consumer])

    async def take_over(self, places: int) -> Sequence[Claim]:
        """See the port."""
        assert places >= 1, "COUNT 0 would mean all of them"
        expired_at = self._state.clock.monotonic() - self._lease_s
        idle = [item for item in self._leases.items() if item[1].holder is not None and item[1].since <= expired_at]
        return self._deliver(idle[:places])

    async def done(self, claims: Sequence[Claim]) -> None:
        """See the port."""
        leases = self._leases
        for claim in claims:
            leases.pop(claim.id, None)

    async def hand_over(self, claims: Sequence[Claim]) -> None:
        """See the port; what somebody else has taken over meanwhile stays theirs."""
        leases = self._leases
        for claim in claims:
            lease = leases.get(claim.id)
            if lease is not None and lease.holder == self._consumer:
                lease.holder, lease.since = "free", HANDED_OVER

    async def open_tracks(self) -> int:
        """See the port."""
        return len(self._leases)
