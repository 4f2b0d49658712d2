"""The states of the gateway's session machine and its transition table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.events import Event


class State(StrEnum):
    """Where a socket is in its session."""

    GREETING = "greeting"
    """``start`` has not come."""
    OPENING = "opening"
    """The logs are being opened."""
    CONNECTING = "connecting"
    """The session is being looked up."""
    STREAMING = "streaming"
    """Sound goes up, captions come down."""
    STOPPING = "stopping"
    """All tracks were stopped; finals still come."""
    REOPENING = "reopening"
    """The logs are gone; a new epoch is being opened."""
    CLOSED = "closed"
    """Over for this socket."""


_ALWAYS: Mapping[type[Event], str] = {on.SocketGone: "_leave", on.Drain: "_drain"}
_FOLLOWED: Mapping[type[Event], str] = {
    on.AppendDone: "_append_done",
    on.TailRead: "_tail_read",
    on.RecordRead: "_record_read",
    on.FinalsRead: "_finals_read",
    on.DraftsRead: "_drafts_read",
    on.LiveRead: "_live_read",
    on.ProgressRead: "_progress_read",
    on.ServerChanged: "_server_changed",
    on.Timer: "_timer",
}
_WAITING: Mapping[type[Event], str] = {
    on.Text: "_too_early",
    on.Binary: "_too_early",
    on.Failed: "_failed",
    on.Timer: "_ignore",
}

TRANSITIONS: Mapping[State, Mapping[type[Event], str]] = {
    State.GREETING: {**_ALWAYS, on.Text: "_greet", on.Binary: "_too_early", on.Timer: "_no_start"},
    State.OPENING: {**_ALWAYS, **_WAITING, on.Opened: "_opened", on.OpenLost: "_open_lost"},
    State.CONNECTING: {**_ALWAYS, **_WAITING, on.Connected: "_connected"},
    State.STREAMING: {**_ALWAYS, **_FOLLOWED, on.Text: "_command", on.Binary: "_sound"},
    State.STOPPING: {**_ALWAYS, **_FOLLOWED, on.Text: "_command", on.Binary: "_sound"},
    State.REOPENING: {
        **_ALWAYS,
        # What belongs to the old epoch is of no use any more.
        **dict.fromkeys(
            (
                on.AppendDone,
                on.TailRead,
                on.FinalsRead,
                on.DraftsRead,
                on.LiveRead,
                on.ProgressRead,
                on.ServerChanged,
                on.Binary,
            ),
            "_ignore",
        ),
        on.Text: "_command",
        on.Timer: "_timer",
        on.RecordRead: "_record_read_while_reopening",
        on.Opened: "_reopened",
        on.OpenLost: "_open_lost",
        on.Failed: "_failed",
    },
    State.CLOSED: {**dict.fromkeys(on.EVENTS, "_ignore"), on.Opened: "_opened_for_nobody"},
}
"""State × event → method. A missing cell is a bug of the shell."""
