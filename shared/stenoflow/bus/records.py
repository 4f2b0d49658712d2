"""The port to what is not a log: session records, progress, signs of life, the worker registry (DESIGN 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry
from stenoflow.bus.logs import LogName

TTL_S = 600
"""Every key of a session lives at least this long after its last renewal."""

LONGEST_RETENTION_S = 30 * 86_400
"""Captions of ended sessions lie in Redis' memory: whoever keeps them for longer fetches them."""

ABANDONED_S = 60
"""After so long without a sign of life any gateway may write a session's ``end`` marks."""

WORKER_SILENT_MS = 5_000
"""A worker that did not announce itself for so long does not count."""


class Stages(StrEnum):
    """The stages, in the order in which sound passes them. The second pass is optional, session by session."""

    FEATURES = "features"
    ACOUSTIC = "acoustic"
    DECODER = "decoder"
    SECOND_PASS = "second_pass"


NEEDED = (Stages.FEATURES, Stages.ACOUSTIC, Stages.DECODER)
"""The stages that every session passes."""


class SessionState(StrEnum):
    """Where a session is in its life."""

    OPEN = "open"
    ENDED = "ended"
    BROKEN = "broken"


class TrackInfo(msgspec.Struct, frozen=True):
    """What the record says of one track."""

    name: str
    encoding: str
    sample_rate: int
    base: int = 0
    """First position of the present epoch, 16 kHz samples."""


class SessionRecord(msgspec.Struct, frozen=True):
    """A session as every process sees it; small, and without a word that was said.

    Args:
        id: the session.
        epoch: the present opening of its logs.
        connection: counts the sockets that spoke for it; the newest wins.
        state: open, ended or broken (a worker found a gap that stays).
        token_hash: sha256 hex of the resume token.
        kind: ``live`` or ``file``.
        bundle: the bundle that it asked for.
        tracks: one a voice channel.
        settings: ``endpointing``, ``partials``, ``boost``, ``chunk_ms`` as the client gave them.
        error: why it is broken: code and sentence, else empty.
        second_pass: the model that hears each utterance again, by name; empty for none.
        features: what its bundle hears; see :func:`stenoflow.bundle.card.asked`.
        tenant: whose it is; empty where there are no tenants.
        began_ms: wall clock of its first ``start``.
        retention_s: for how long captions and record are kept after the end; 0: nothing is, it was deleted.
        metadata: the caller's notes.
    """

    id: SessionId
    epoch: Epoch
    connection: int
    state: SessionState
    token_hash: str
    kind: str
    bundle: str
    tracks: tuple[TrackInfo, ...]
    settings: dict[str, Any] = {}
    error: tuple[str, str] | None = None
    second_pass: str = ""
    features: str = ""
    tenant: str = ""
    began_ms: int = 0
    retention_s: int = TTL_S
    metadata: dict[str, str] = {}

    @property
    def deleted(self) -> bool:
        """Nobody may see it any more; if it still runs, nothing stays of it."""
        return self.retention_s == 0

    def blank(self) -> SessionRecord:
        """What stays of a deleted one for a while, so that nobody takes it for a session that Redis has lost."""
        tracks = tuple(msgspec.structs.replace(track, name="") for track in self.tracks)
        return msgspec.structs.replace(self, tracks=tracks, settings={}, metadata={}, retention_s=0)

    @property
    def stages(self) -> tuple[Stages, ...]:
        """The stages that its sound passes."""
        return (*NEEDED, Stages.SECOND_PASS) if self.second_pass else NEEDED

    def track_keys(self) -> tuple[TrackKey, ...]:
        """The keys of all tracks in the present epoch."""
        return tuple(TrackKey(self.id, number, self.epoch) for number in range(len(self.tracks)))


def claims_bundle(stage: Stages, record: SessionRecord) -> str:
    """The suffix of the claims stream that a session's tracks go to: a model's name, or empty for the common one.

    A features worker makes what any bundle hears; behind it each bundle has workers of its own.
    """
    if stage is Stages.SECOND_PASS:
        return record.second_pass
    return "" if stage is Stages.FEATURES else record.bundle


OF_A_BUNDLE = (Stages.ACOUSTIC, Stages.DECODER)
"""The stages whose workers serve one bundle each."""


class StageProgress(msgspec.Struct, frozen=True, array_like=True):
    """How far one stage is on one track."""

    position: int
    """16 kHz samples."""
    restart: int
    """In the stage's input units."""
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening found: how many claims of each stage are open now, this session's included."""

    open_tracks: Mapping[Stages, int]


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker's line in the registry.

    Args:
        id: the consumer name.
        stage: what it does.
        places: tracks that it can hold.
        held: tracks that it holds.
        bundle: name and hash of its bundle, or empty.
        version: of Stenoflow.
    """

    id: str
    stage: Stages
    places: int
    held: int
    bundle: str = ""
    version: str = ""
    details: dict[str, str] = field(default_factory=dict)


class Records(Protocol):
    """Session records, progress and the worker registry of one server or cluster.

    Every method may raise :class:`stenoflow.base.errors.BusUnavailable`.
    """

    async def open(self, record: SessionRecord, openings: Mapping[LogName, Sequence[Entry]]) -> Opened | None:
        """Opens a session in one transaction under WATCH of its record (DESIGN 2.7, 4).

        Writes the record, the opening entry of every log (``openings``: per log one entry a track; ``live`` too),
        the claims of every stage, and the sign of life; deletes the claims and the logs but ``finals`` of the epoch
        that it supersedes, if any. None where the record changed meanwhile (another gateway was faster) or holds a
        newer connection than the one given.
        """
        ...

    async def get(self, session: SessionId) -> SessionRecord | None:
        """The record, or None where there is none."""
        ...

    async def get_many(self, sessions: Sequence[SessionId]) -> Sequence[SessionRecord | None]:
        """Several records at once, in order."""
        ...

    async def connect(self, session: SessionId, token_hash: str) -> SessionRecord | None:
        """Raises the connection number (newest wins) and returns the new record; None if absent or another token.

        A sign of life: whoever comes back late must not be taken for gone before the next one is written.
        """
        ...

    async def finish(self, record: SessionRecord, state: SessionState, error: tuple[str, str] | None = None) -> bool:
        """Marks the session ended or broken, if the record still has this epoch; claims are left to the workers.

        ``ENDED`` only once ``finals`` of every track holds its ``end``: all logs but ``finals`` go with it. These and
        the record stay for ``retention_s``.
        """
        ...

    async def sessions(self) -> Sequence[SessionId]:
        """Open sessions and ended ones that are kept; some may have expired meanwhile."""
        ...

    async def epochs(self, session: SessionId) -> Sequence[Epoch]:
        """All openings of a session's logs, oldest first; empty where there is no such session."""
        ...

    async def delete(self, session: SessionId) -> SessionRecord | None:
        """Nothing of a session is kept: an ended one's captions go now, an open one's as it ends.

        Returns the record as it was; None where there is none, or it was deleted before.
        """
        ...

    async def touch(self, sessions: Sequence[SessionId], wall_ms: int) -> None:
        """Signs of life, and new TTLs for all keys of the sessions."""
        ...

    async def abandoned(self, before_ms: int) -> Sequence[SessionId]:
        """Open sessions without a sign of life since ``before_ms``."""
        ...

    async def note_progress(self, stage: Stages, progress: Mapping[TrackKey, StageProgress]) -> None:
        """How far a stage is, per track."""
        ...

    async def progress(self, tracks: Sequence[TrackKey]) -> Sequence[Mapping[Stages, StageProgress]]:
        """How far all stages are, per track, in order."""
        ...

    async def count_takeover(self, stage: Stages, track: TrackKey, position: int) -> int:
        """Counts a take-over of a track that was at ``position``; the count starts anew where it has moved since."""
        ...

    async def uncount_takeovers(self, stage: Stages, positions: Mapping[TrackKey, int]) -> None:
        """Takes one take-over of each track at its position back: it did not end who had taken it over."""
        ...

    async def announce(self, status: WorkerStatus, wall_ms: int) -> None:
        """Writes a worker's line; it vanishes some seconds after the last announcement."""
        ...

    async def withdraw(self, status: WorkerStatus) -> None:
        """Removes a worker's line (drain)."""
        ...

    async def workers(self, now_ms: int) -> Sequence[WorkerStatus]:
        """All workers that announced themselves in the last 5 s."""
        ...

    async def memory_fraction(self) -> float:
        """Used memory over ``maxmemory``, the worst server's; 0.0 where no limit is set."""
        ...

    async def server_version(self) -> tuple[int, ...]:
        """Oldest Redis version among the servers, e.g. (7, 0, 15); Valkey gives what it claims to be compatible to."""
        ...
