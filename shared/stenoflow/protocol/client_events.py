"""What happens to a client's session (events) and what it wants done (effects); see ``client.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire

# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the session."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound that follows what came before; see :meth:`ClientSession.room`."""

    track: int
    samples: bytes


@dataclass(frozen=True, slots=True)
class FinalizeAsked:
    """End the open utterance here; of one track, or of all."""

    track: int | None = None


@dataclass(frozen=True, slots=True)
class ConfigureAsked:
    """Other settings from the next sample on, of all tracks; ``settings.track`` is left out."""

    settings: wire.Configure


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """Mute: sound that comes from here on is silence; of one track, or of all."""

    track: int | None = None


@dataclass(frozen=True, slots=True)
class UnpauseAsked:
    """Sound counts again; of one track, or of all."""

    track: int | None = None


@dataclass(frozen=True, slots=True)
class StopAsked:
    """No more sound comes; of one track, or of all."""

    track: int | None = None


@dataclass(frozen=True, slots=True)
class SocketOpen:
    """The connection of this number is open."""

    connection: int


@dataclass(frozen=True, slots=True)
class SocketLost:
    """The connection of this number is closed or could not be made."""

    connection: int


@dataclass(frozen=True, slots=True)
class Received:
    """The connection of this number brought a text message."""

    connection: int
    text: str | bytes


@dataclass(frozen=True, slots=True)
class Timer:
    """The moment of the last :class:`SetTimer` has come."""


Event = (
    Begin
    | Audio
    | FinalizeAsked
    | ConfigureAsked
    | PauseAsked
    | UnpauseAsked
    | StopAsked
    | SocketOpen
    | SocketLost
    | Received
    | Timer
)

# ---------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection under this number; answer with :class:`SocketOpen` or :class:`SocketLost`.

    Args:
        connection: the number.
        token: goes in the ``Authorization`` header, or as a second subprotocol; never into the address.
    """

    connection: int
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SendText:
    """Send this message."""

    message: wire.Start | wire.Configure | wire.Finalize | wire.Pause | wire.Unpause | wire.Stop


@dataclass(frozen=True, slots=True)
class SendAudio:
    """Send this binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection of this number; nothing of it is wanted any more."""

    connection: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Come back with :class:`Timer` at this moment; replaces the one before."""

    at: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """For the application: each final exactly once, the rest as it came."""

    message: Any


@dataclass(frozen=True, slots=True)
class Finished:
    """The session is over; ``error`` says why, where it failed."""

    error: ClientError | None


Effect = Connect | SendText | SendAudio | Disconnect | SetTimer | Deliver | Finished
