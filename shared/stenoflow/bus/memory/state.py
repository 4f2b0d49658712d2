"""What the three in-memory adapters share: the data of one pretended server, its clock and its faults."""

from __future__ import annotations

from dataclasses import dataclass, field

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.doors import OpenSession
from stenoflow.bus.entry import EntryId
from stenoflow.bus.logs import LogKey
from stenoflow.bus.records import TTL_S, SessionRecord, StageProgress, Stages, WorkerStatus


@dataclass(slots=True)
class Faults:
    """What is broken at the moment; tests and the simulation set these.

    Args:
        unavailable: every call raises :class:`BusUnavailable`.
        full: the server takes no writes that need memory.
        full_logs: the same for single logs (memory may run out in the middle of a batch).
    """

    unavailable: bool = False
    full: bool = False
    full_logs: set[LogKey] = field(default_factory=set)


@dataclass(slots=True)
class Lease:
    """One entry of a claims stream.

    Args:
        track: the track to work on.
        holder: the consumer that it was delivered to, or None before the first delivery.
        since: monotonic seconds of the delivery that counts.
    """

    track: TrackKey
    holder: str | None = None
    since: float = 0.0


StoredEntry = tuple[EntryId, bytes, bytes]
"""Id, header, payload. Encoded as in Redis, so that nobody shares a mutable ``carry`` and tuples come back as lists."""


class State:
    """The data of one pretended server.

    Args:
        clock: for leases, expiry and the ids of ``live`` entries.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.faults = Faults()
        self.restarts = 0
        self.logs: dict[LogKey, list[StoredEntry]] = {}
        self.claims: dict[tuple[Stages, str], dict[str, Lease]] = {}
        self.records: dict[SessionId, SessionRecord] = {}
        self.epochs: dict[SessionId, list[Epoch]] = {}
        self.last_sign_ms: dict[SessionId, int] = {}
        self.progress: dict[TrackKey, dict[Stages, StageProgress]] = {}
        self.takeovers: dict[tuple[Stages, TrackKey], tuple[int, int]] = {}
        self.workers: dict[tuple[Stages, str], tuple[int, WorkerStatus]] = {}
        self.tickets: dict[str, tuple[float, bytes]] = {}
        self.opened: dict[str, dict[OpenSession, int]] = {}
        self.begun: dict[str, dict[SessionId, int]] = {}
        self._expires_at: dict[SessionId, float] = {}
        self._next_expiry = float("inf")
        self._claims_made = 0

    def look(self) -> None:
        """To be called before each command: raises where the server is away, and lets time do its work."""
        if self.faults.unavailable:
            raise BusUnavailable("the in-memory bus is set to be unavailable")
        if self.clock.monotonic() >= self._next_expiry:
            self._expire()

    def look_before_write(self) -> None:
        """The same before a command that needs memory and has no outcome to tell that there is none."""
        self.look()
        if self.faults.full:
            raise BusUnavailable("the in-memory bus is set to be full", code="bus_full")

    def keep_alive(self, session: SessionId, ttl_s: float = TTL_S) -> None:
        """A new time to live for all that belongs to a session."""
        self._expires_at[session] = self.clock.monotonic() + ttl_s
        self._next_expiry = min(self._expires_at.values())

    def next_claim_id(self) -> str:
        """Ids as the server would give them: milliseconds, and a count that keeps them apart."""
        self._claims_made += 1
        return f"{self.clock.wall_ms()}-{self._claims_made}"

    def lose_everything(self) -> None:
        """What a restart without data leaves: nothing."""
        for kept in (self.logs, self.claims, self.records, self.epochs, self.last_sign_ms, self.progress):
            kept.clear()
        self.takeovers.clear()
        self.workers.clear()
        self.tickets.clear()
        self.opened.clear()
        self.begun.clear()
        self._expires_at.clear()
        self._next_expiry = float("inf")

    def _expire(self) -> None:
        now = self.clock.monotonic()
        gone = {session for session, at in self._expires_at.items() if at <= now}
        for session in gone:
            del self._expires_at[session]
            self.records.pop(session, None)
            self.epochs.pop(session, None)
        self._next_expiry = min(self._expires_at.values(), default=float("inf"))
        self.logs = {key: log for key, log in self.logs.items() if key.track.session not in gone}
        self.progress = {key: value for key, value in self.progress.items() if key.session not in gone}
        self.takeovers = {key: value for key, value in self.takeovers.items() if key[1].session not in gone}
