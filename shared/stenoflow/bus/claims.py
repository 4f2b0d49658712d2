"""The port to the claims: which worker works on which track (DESIGN 4). A lease is an idle time below ``LEASE_S``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stenoflow.base.ids import TrackKey

LEASE_S = 1.5
"""A claim whose holder has not renewed it for this long may be taken over."""

RENEW_S = 0.5
"""How often a holder renews: three tries a lease."""

MAX_FRUITLESS_TAKEOVERS = 3
"""Take-overs without progress after which a track ends with an error: it would kill worker after worker."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One open track of one stage, held by one worker.

    Args:
        id: of the claim's entry in the claims stream.
        track: the track to work on.
    """

    id: str
    track: TrackKey


class Claims(Protocol):
    """The claims of one stage, seen by one worker (its consumer name is the adapter's).

    Every method may raise :class:`stenoflow.base.errors.BusUnavailable`.
    """

    async def take(self, places: int) -> Sequence[Claim]:
        """Takes at most ``places`` open tracks that nobody has had yet. ``places`` is at least 1."""
        ...

    async def renew(self) -> Sequence[Claim]:
        """Renews all that is still this worker's and returns it; what is missing there is lost and must be dropped."""
        ...

    async def take_over(self, places: int) -> Sequence[Claim]:
        """Takes at most ``places`` tracks whose lease ran out, or that were handed over."""
        ...

    async def done(self, claims: Sequence[Claim]) -> None:
        """The tracks are over: their claims go for good."""
        ...

    async def hand_over(self, claims: Sequence[Claim]) -> None:
        """Gives the tracks back at once, so that another worker can take them over (drain)."""
        ...

    async def open_tracks(self) -> int:
        """How many tracks of this stage are open, held or not: what autoscaling reads."""
        ...
