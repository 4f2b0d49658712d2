"""What all of the session machine stands on: its state, its effects, and the messages of every state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stenoflow.base.errors import StenoflowError
from stenoflow.base.ids import SessionId, TrackKey
from stenoflow.bus.records import SessionRecord
from stenoflow.protocol import messages as wire
from stenoflow_gateway.access.grants import OPEN, Grant
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.events import Code, Effect, Event, Moment
from stenoflow_gateway.session.states import State
from stenoflow_gateway.session.track import GatewayTrack

ACK_S = 0.5
"""An ``ack`` comes at least this often: the client's watchdog takes four of them missing for a break."""


@dataclass(frozen=True, slots=True)
class Idle:
    """How long a client may send neither sound nor marks, seconds.

    Args:
        warning_s: then it is warned.
        end_s: then the session ends.
    """

    warning_s: float = 60.0
    end_s: float = 300.0


class SessionBase:
    """State and effects; see :class:`stenoflow_gateway.session.machine.Session`.

    Args:
        session: a fresh id, used where the client starts a new session.
        token: its resume token.
        window_s: per kind of session, how far beyond the decoder sound is admitted, seconds.
        at: now.
        idle: how long the client may be silent.
        grant: what the client may do.
    """

    def __init__(
        self,
        session: SessionId,
        token: str,
        window_s: Mapping[str, float],
        at: Moment,
        idle: Idle | None = None,
        grant: Grant = OPEN,
    ) -> None:
        self.state = State.GREETING
        self.id = session
        self.record: SessionRecord | None = None
        self.tracks: list[GatewayTrack] = []
        self._token = token
        self._windows = window_s
        self._grant = grant
        self._idle = idle or Idle()
        self._heard_at = at.monotonic
        self._idle_told = False
        self._start: wire.Start | None = None
        self._fresh = True
        self._gone = False
        self._behind = False
        self._reduced = False
        self._mark_dropped = False
        self._look_ahead_ms = 0
        self._at = at
        self._begun_at = at.monotonic
        self._born_ms = at.wall_ms
        self._ack_due = self._progress_due = self._latency_due = at.monotonic
        self._armed: float | None = None
        self._effects: list[Effect] = []

    def lag_s(self, wall_ms: int) -> float:
        """Age of the oldest received sample that is not decoded, over all tracks (MEASURING 1)."""
        return max((track.lag_s(wall_ms) for track in self.tracks), default=0.0)

    def _track(self, key: TrackKey) -> GatewayTrack | None:
        """The track of this key; None where it is of an earlier epoch."""
        track = self.tracks[key.number] if key.number < len(self.tracks) else None
        return track if track is not None and track.key == key else None

    def _send(self, message: wire.Message) -> None:
        self._effects.append(on.Send(message))

    def _tell_condition(self) -> None:
        """One status for all that may hold captions up; the graver one counts."""
        if self._behind:
            self._send(wire.Status(status="behind"))
        else:
            self._send(wire.Status(status="reduced" if self._reduced else "normal"))

    def _ack(self) -> None:
        self._ack_due = self._at.monotonic + ACK_S
        self._send(wire.Ack(tracks=tuple(track.ack() for track in self.tracks)))

    def _refuse(self, error: StenoflowError, code: Code) -> None:
        self._send(
            wire.Error(
                code=error.code,
                message=error.message,
                retryable=error.retryable,
                retry_after_ms=error.retry_after_ms,
            )
        )
        self._close(code)

    def _drain(self, _: on.Drain) -> None:
        self._send(wire.Reconnect())
        self._close(Code.RESTART)

    def _close(self, code: Code) -> None:
        self._leave(on.SocketGone())
        self._effects.append(on.Close(code))

    def _leave(self, _: on.SocketGone) -> None:
        if self.tracks:
            self._effects.append(on.Follow(None))
        self.state = State.CLOSED

    def _rewind(self, track: GatewayTrack) -> None:
        track.rewinding, track.mark_dropped_at = True, None
        track.forget_configured()
        self._send(wire.Status(status="rewind", track=track.key.number, next=track.writer.next))

    def _send_track_ended(self, track: GatewayTrack) -> None:
        sentence = f"track {track.key.number} was ended from elsewhere; no more sound is taken on it"
        self._send(wire.Warning(code="track_ended", message=sentence, retryable=False))

    def _become_streaming(self) -> None:
        self.state = State.STOPPING if all(track.stopped for track in self.tracks) else State.STREAMING

    def _ignore(self, _: Event) -> None:
        """Too late to matter."""
