"""What happens to a session (events) and what it wants done (effects). Values only; the shell carries effects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from stenoflow.base.errors import StenoflowError
from stenoflow.base.ids import SessionId, TrackKey
from stenoflow.bus.entry import Entry, EntryId
from stenoflow.bus.logs import Outcome, Tail
from stenoflow.bus.records import SessionRecord, StageProgress, Stages
from stenoflow.protocol.messages import Message, Start


class Moment(NamedTuple):
    """When an event happened."""

    monotonic: float
    wall_ms: int


class Code(IntEnum):
    """WebSocket close codes; 4000 and above are this protocol's own."""

    NORMAL = 1000
    """``ended`` was the last message."""
    RESTART = 1012
    """The gateway drains: resume elsewhere."""
    TRY_LATER = 1013
    """Redis does not answer: resume later."""
    BAD_CLIENT = 4400
    """The ``error`` before it says what the client did."""
    UNAUTHORIZED = 4401
    """No token, or none that is good here: connect again with another one."""
    FORBIDDEN = 4403
    """The token is good, but not for this."""
    NO_SESSION = 4404
    """No session for this token."""
    SLOW_READER = 4408
    """The client does not read: resume once it can."""
    SUPERSEDED = 4409
    """A newer connection speaks for the session."""
    NO_CAPACITY = 4429
    """No place now."""
    BROKEN = 4500
    """The session cannot go on."""


BUG = 1011
"""Close code after a bug of ours."""


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Text:
    """A text message came."""

    text: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary message came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SocketGone:
    """The client's socket is closed, or was given up."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to :class:`Open`: the logs are there.

    Args:
        record: as written: with its epoch and its bundle.
        look_ahead_ms: what the bundle waits for before it decides.
    """

    record: SessionRecord
    look_ahead_ms: int = 0


@dataclass(frozen=True, slots=True)
class OpenLost:
    """Answer to :class:`Open`: another gateway was faster."""


@dataclass(frozen=True, slots=True)
class Connected:
    """Answer to :class:`Connect`.

    Args:
        record: with this connection's number; None where there is no such session (any more).
        tails: per track the ends of ``audio`` and ``finals``, None where a log is gone.
        look_ahead_ms: what the bundle waits for.
    """

    record: SessionRecord | None
    tails: Sequence[tuple[Tail | None, Tail | None]] = ()
    look_ahead_ms: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """Answer to :class:`Open` or :class:`Connect`: it cannot be done.

    Args:
        error: goes on the wire.
        code: the socket is closed with it.
    """

    error: StenoflowError
    code: Code


@dataclass(frozen=True, slots=True)
class AppendDone:
    """Answer to :class:`Append`; ``outcome`` is None where no reply came (it may be in the log or not)."""

    track: TrackKey
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class TailRead:
    """Answer to :class:`ReadTail`; None where the log is gone."""

    track: TrackKey
    tail: Tail | None


@dataclass(frozen=True, slots=True)
class RecordRead:
    """The session's record as it is now (polled, or asked for by :class:`ReadRecord`)."""

    record: SessionRecord | None


@dataclass(frozen=True, slots=True)
class FinalsRead:
    """News of a track's ``finals``."""

    track: TrackKey
    entries: Sequence[tuple[EntryId, Entry]]


@dataclass(frozen=True, slots=True)
class DraftsRead:
    """News of a track's ``drafts``: what a second pass will hear again."""

    track: TrackKey
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class LiveRead:
    """News of a track's ``live`` log."""

    track: TrackKey
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class ProgressRead:
    """How far the stages are, per track."""

    progress: Mapping[TrackKey, Mapping[Stages, StageProgress]]


@dataclass(frozen=True, slots=True)
class ServerChanged:
    """Behind the connection is another server, or one that came back: look at the tails first (sentence 6)."""


@dataclass(frozen=True, slots=True)
class Timer:
    """The moment of the last :class:`SetTimer` has come."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The gateway leaves."""


Event = (
    Text
    | Binary
    | SocketGone
    | Opened
    | OpenLost
    | Connected
    | Failed
    | AppendDone
    | TailRead
    | RecordRead
    | FinalsRead
    | DraftsRead
    | LiveRead
    | ProgressRead
    | ServerChanged
    | Timer
    | Drain
)
EVENTS: tuple[type[Event], ...] = (
    Text,
    Binary,
    SocketGone,
    Opened,
    OpenLost,
    Connected,
    Failed,
    AppendDone,
    TailRead,
    RecordRead,
    FinalsRead,
    DraftsRead,
    LiveRead,
    ProgressRead,
    ServerChanged,
    Timer,
    Drain,
)

# ---------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message."""

    message: Message


@dataclass(frozen=True, slots=True)
class Forward:
    """Send a caption's JSON as it came from the log; one that is ``superseded`` by the next may be left out for it."""

    track: int
    data: bytes
    superseded: bool


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket once all before it is sent."""

    code: Code


@dataclass(frozen=True, slots=True)
class Open:
    """Open the session's logs; the shell fills in epoch and bundle.

    Args:
        record: what to write.
        admit: whether places are asked for first (a session that goes on is not refused).
    """

    record: SessionRecord
    admit: bool


@dataclass(frozen=True, slots=True)
class Connect:
    """Take over a session that another socket began."""

    session: SessionId
    token: str
    start: Start


@dataclass(frozen=True, slots=True)
class Append:
    """Append to a track's audio log; one is in flight per log."""

    track: TrackKey
    id: EntryId
    entry: Entry


@dataclass(frozen=True, slots=True)
class ReadTail:
    """Read the end of a track's audio log."""

    track: TrackKey


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Read the session's record."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Follow:
    """From now on give news of these tracks' ``finals`` (from the given positions on), ``live`` and progress.

    Replaces what was followed before; empty: nothing any more.
    """

    record: SessionRecord | None


@dataclass(frozen=True, slots=True)
class Finish:
    """The session is over: all finals are there, or (``abandoned``) nobody wants them."""

    record: SessionRecord
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Come back with :class:`Timer` at this moment of the monotonic clock; replaces the one before."""

    at: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure for the metrics, by MEASURING's name."""

    name: str
    value: float


Effect = (
    Send | Forward | Close | Open | Connect | Append | ReadTail | ReadRecord | Follow | Finish | SetTimer | Measured
)
