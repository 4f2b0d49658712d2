"""The client's side of a session as a sans-I/O machine; the twin of ``gateway-js/src/session.js``.

It touches no socket and no clock: the shell carries its effects out and says with each event what time it is. Every
reaction starts in :data:`TRANSITIONS`; what is not there is the caller's mistake (``AssertionError``) or the server's
(the session fails with ``protocol_error``).

The theory, in the words of DESIGN 7. The client keeps sound and marks from ``committed`` on. A broken connection is
an ordinary event: after any break the machine waits a moment, connects again with the resume token and sends from the
``next`` that the server names. Cursors may move back, the ring never does. Nothing is sent beyond ``window_end``. Two
seconds without an ``ack`` count as a break, since a send into half-dead TCP reports nothing. The session is over when
the server says ``ended``, not when the socket closes.

    IDLE ─begin→ CONNECTING ─opened→ STARTING ─started→ STREAMING ─stop→ DRAINING ─all sent→ STOPPING ─ended→ ENDED
                    ↑    └─────────── break ───┴───────────┴───────────────┴───────────────────┘
                    └─timer─ WAITING ←─┘            any state ─refused, superseded, given up→ FAILED
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from stenoflow.base.errors import ClientError
from stenoflow.base.positions import Position, to_client
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client_events import (
    Audio,
    Begin,
    ConfigureAsked,
    Connect,
    Deliver,
    Disconnect,
    Effect,
    Event,
    FinalizeAsked,
    Finished,
    PauseAsked,
    Received,
    SendAudio,
    SendText,
    SetTimer,
    SocketLost,
    SocketOpen,
    StopAsked,
    Timer,
    UnpauseAsked,
)
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow.protocol.ring import ClientTrack, KeptMark

WATCHDOG_S = 2.0
"""Without an ``ack`` for so long the connection is taken for dead."""

HANDSHAKE_S = 5.0
"""A connection that is not open and started by then is taken for dead."""

GIVE_UP_S = 120.0
"""A session that could not be reached for so long is given up; the server ends it after 60 s."""

OWN_ECHO_S = 5.0
"""``superseded`` so soon after a resume may be an earlier connection of this very client, whose request was held up on
its way; one more connection settles it. Another client with the same token would win again, and then it has won."""

SLEPT_S = 1.0
"""A timer that comes this late was held up with the whole process; the acks wait in the same queue behind it."""

RING_BEYOND_WINDOW_S = 30
"""What is kept beyond the window: a segment and the time of a reconnect."""

WINDOW_S = {"live": 12, "file": 60}
"""What the server admits unless its ``limits`` say otherwise; used before ``started`` has come."""

RETRY_S = (0.25, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a new connection; the last one repeats. Up to a quarter is added by chance."""

LONGEST_FRAME_S = 1
"""Sound that is sent again goes in frames of this length at most."""


class State(StrEnum):
    """Where the session is, as its client sees it."""

    IDLE = "idle"
    CONNECTING = "connecting"
    STARTING = "starting"
    STREAMING = "streaming"
    DRAINING = "draining"
    STOPPING = "stopping"
    WAITING = "waiting"
    ENDED = "ended"
    FAILED = "failed"


EVENTS: tuple[type, ...] = (
    *(Begin, Audio, FinalizeAsked, ConfigureAsked, PauseAsked, UnpauseAsked, StopAsked, SocketOpen, SocketLost, Timer),
    *(wire.Started, wire.Ack, wire.Partial, wire.Final, wire.Progress, wire.Latency, wire.Quality, wire.Status),
    *(wire.Spotted, wire.Warning, wire.Error, wire.Reconnect, wire.Ended),
)
"""All that a cell of the table may be for: :class:`Received` counts under its message's type."""

_CALLER: Mapping[type, str] = {
    Audio: "_keep",
    FinalizeAsked: "_mark",
    ConfigureAsked: "_configure",
    PauseAsked: "_pause",
    UnpauseAsked: "_unpause",
    StopAsked: "_stop",
    Timer: "_timer",
}
_SOCKET: Mapping[type, str] = {SocketLost: "_lose", wire.Reconnect: "_move", wire.Error: "_refused"}
_FLOWING: Mapping[type, str] = {
    **_CALLER,
    **_SOCKET,
    wire.Ack: "_acknowledge",
    wire.Final: "_final",
    wire.Spotted: "_spotted",
    wire.Status: "_status",
    wire.Ended: "_ended",
    **dict.fromkeys((wire.Partial, wire.Progress, wire.Latency, wire.Quality, wire.Warning), "_pass"),
}
_OVER: Mapping[type, str] = dict.fromkeys(EVENTS, "_ignore")

TRANSITIONS: Mapping[State, Mapping[type, str]] = {
    State.IDLE: {Begin: "_begin"},
    State.CONNECTING: {**_CALLER, SocketOpen: "_greet", SocketLost: "_lose"},
    State.STARTING: {**_CALLER, **_SOCKET, wire.Started: "_go", wire.Warning: "_pass", wire.Status: "_pass"},
    State.STREAMING: _FLOWING,
    State.DRAINING: _FLOWING,
    State.STOPPING: _FLOWING,
    State.WAITING: _CALLER,
    State.ENDED: _OVER,
    State.FAILED: _OVER,
}
"""State × event → method."""


class ClientSession:
    """The machine of one session, over as many connections as it takes.

    Args:
        start: as the session is to begin; without ``resume``.
        chance: gives numbers in [0, 1): spreads reconnects; tests pass a constant.
        give_up_s: how long the server may be out of reach; 0 fails at the first break or refusal.
        token: an access token, where the server asks for one; every connection carries it.
    """

    def __init__(
        self,
        start: wire.Start,
        *,
        chance: Callable[[], float] = lambda: 0.0,
        give_up_s: float = GIVE_UP_S,
        token: str | None = None,
    ) -> None:
        assert all(track.encoding == "pcm_s16le" for track in start.tracks), "what is kept here is 16-bit PCM"
        self.state = State.IDLE
        self.session: str | None = None
        self.finals: list[wire.Final] = []
        self.resumes = 0
        self.connection = 0
        seconds = WINDOW_S[start.kind] + RING_BEYOND_WINDOW_S
        self.tracks = [
            ClientTrack(number, track.sample_rate, seconds * track.sample_rate)
            for number, track in enumerate(start.tracks)
        ]
        self._start = start
        self._chance = chance
        self._give_up_s = give_up_s
        self._access_token = token
        self._token: str | None = None
        self._failures = 0
        self._started_at = 0.0
        self._doubted = False
        self._frame_s: float = LONGEST_FRAME_S
        self._now = 0.0
        self._due: float | None = None
        self._give_up_at = 0.0
        self._effects: list[Effect] = []
        self._heard: set[tuple[int, str, int]] = set()
        self._configures: deque[wire.Configure] = deque()
        self._in_force = 0
        self._changed: dict[str, Any] = {}

    def room(self, track: int) -> int:
        """Samples of a track that may be pushed now; what a file is read by."""
        return self.tracks[track].room

    def receive(self, event: Event, now: float) -> Sequence[Effect]:
        """Takes one event; returns what is to be done, in order, before the next event."""
        self._effects = []
        self._now = now
        if isinstance(event, SocketOpen | SocketLost | Received) and event.connection != self.connection:
            return []  # of a connection that was given up
        subject: Any = event
        if isinstance(event, Received):
            try:
                subject = wire.parse_server(event.text)
            except ClientError as error:
                self._fail(ClientError("protocol_error", f"the server sent what cannot be read: {error.message}"))
                return self._effects
        method = TRANSITIONS[self.state].get(type(subject))
        if method is not None:
            reaction: Callable[[Any], None] = getattr(self, method)
            reaction(subject)
        elif isinstance(event, Received):
            self._fail(ClientError("protocol_error", f"the server sent '{subject.type}' while {self.state}"))
        else:
            raise AssertionError(f"{type(event).__name__} while {self.state}")
        return self._effects

    # ------------------------------------------------------------------ the caller

    def _begin(self, _: Begin) -> None:
        self._give_up_at = self._now + self._give_up_s
        self._connect()

    def _keep(self, event: Audio) -> None:
        track = self.tracks[event.track]
        assert not track.stop_asked, f"sound for track {event.track} after its stop"
        assert len(event.samples) // 2 <= track.room, f"the ring of track {event.track} is full; ask room() first"
        track.push(event.samples)
        self._pump(track)

    def _mark(self, event: FinalizeAsked) -> None:
        for track in self._which(event.track):
            if not track.stop_asked:
                track.marks.append(KeptMark(track.end, wire.Finalize(track=track.number)))
                self._pump(track)

    def _configure(self, event: ConfigureAsked) -> None:
        self._configures.append(event.settings)
        number = self._in_force + len(self._configures)
        for track in self.tracks:
            if not track.stop_asked:
                message = event.settings.model_copy(update={"track": track.number})
                track.marks.append(KeptMark(track.end, message, configures=number))
                self._pump(track)

    def _pause(self, event: PauseAsked) -> None:
        for track in self._which(event.track):
            if not track.stop_asked:
                track.pause()
                self._pump(track)

    def _unpause(self, event: UnpauseAsked) -> None:
        for track in self._which(event.track):
            if not track.stop_asked:
                track.unpause()
                self._pump(track)

    def _stop(self, event: StopAsked) -> None:
        for track in self._which(event.track):
            if not track.stop_asked:
                track.stop_asked = True
                track.marks.append(KeptMark(track.end, wire.Stop(track=track.number)))
                self._pump(track)
        self._settle()

    def _which(self, track: int | None) -> Sequence[ClientTrack]:
        return self.tracks if track is None else [self.tracks[track]]

    # ------------------------------------------------------------------ connections

    def _connect(self) -> None:
        self.connection += 1
        self.state = State.CONNECTING
        self._effects.append(Connect(self.connection, self._access_token))
        self._set_timer(HANDSHAKE_S)

    def _greet(self, _: SocketOpen) -> None:
        self.state = State.STARTING
        resume = None
        if self._token is not None:
            committed = tuple(wire.ResumeTrack(track=track.number, committed=track.committed) for track in self.tracks)
            resume = wire.Resume(token=self._token, tracks=committed)
        self._effects.append(SendText(self._start.model_copy(update={"resume": resume})))
        self._set_timer(HANDSHAKE_S)

    def _go(self, message: wire.Started) -> None:
        if self._token is not None:
            self.resumes += 1
        self._started_at = self._now
        self.session, self._token = message.session, message.resume_token
        self._frame_s = min(LONGEST_FRAME_S, message.limits.max_frame_s)
        for begun in message.tracks:
            track = self.tracks[begun.track]
            window = round(message.limits.window_s * track.sample_rate)
            track.capacity = max(track.capacity, window + RING_BEYOND_WINDOW_S * track.sample_rate)
            track.window_end = begun.committed + window
            track.received = begun.next
            if not self._move_cursor(track, begun.next):
                return
            self._commit(track, begun.committed)
        self._effects.append(Deliver(message))
        self._set_timer(WATCHDOG_S)
        self.state = State.STREAMING
        for track in self.tracks:
            self._tell_settings(track)
            self._tell_state(track)
        self._pump_all()

    def _lose(self, _: SocketLost) -> None:
        self._break_off(ClientError("connection_lost", "the connection to the server broke", retryable=True))

    def _move(self, message: wire.Reconnect) -> None:
        """The server drains: nothing is wrong, go elsewhere at once."""
        self._effects.append(Deliver(message))
        self._break_off(ClientError("moved", "the server asked to connect again", retryable=True), 0.0)

    def _refused(self, message: wire.Error) -> None:
        self._effects.append(Deliver(message))
        error = ClientError(
            message.code, message.message, retryable=message.retryable, retry_after_ms=message.retry_after_ms
        )
        own_echo = message.code == "superseded" and self.resumes > 0 and self._now - self._started_at < OWN_ECHO_S
        if own_echo and not self._doubted:
            self._doubted = True
            self._break_off(error)
        elif message.retryable:
            self._break_off(error, None if message.retry_after_ms is None else message.retry_after_ms / 1000)
        else:
            self._fail(error)

    def _break_off(self, error: ClientError, pause_s: float | None = None) -> None:
        if self.state in (State.STREAMING, State.DRAINING, State.STOPPING):
            self._give_up_at = self._now + self._give_up_s
        if self._now >= self._give_up_at and error.code != "moved":
            self._fail(error)
            return
        if pause_s is None:
            pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._effects.append(Disconnect(self.connection))
        self.connection += 1  # whatever the old one still brings is left out
        self.state = State.WAITING
        self._set_timer(pause_s * (1 + self._chance() / 4))

    def _timer(self, _: Timer) -> None:
        if self._due is None:
            return
        if self._now < self._due:  # uvloop counts whole milliseconds: its timers come up to one early
            self._effects.append(SetTimer(self._due))
            return
        late, self._due = self._now - self._due, None
        if self.state is State.WAITING:
            self._connect()
        elif late > SLEPT_S:
            self._set_timer(WATCHDOG_S)
        else:
            self._break_off(ClientError("no_sign_of_life", "the server went quiet", retryable=True))

    # ------------------------------------------------------------------ the server's messages

    def _pass(self, message: Any) -> None:
        self._effects.append(Deliver(message))

    def _acknowledge(self, message: wire.Ack) -> None:
        self._failures = 0
        self._set_timer(WATCHDOG_S)
        for line in message.tracks:
            track = self.tracks[line.track]
            track.received, track.window_end = line.received, line.window_end
            self._commit(track, line.committed)
        self._effects.append(Deliver(message))
        self._pump_all()

    def _final(self, message: wire.Final) -> None:
        track = self.tracks[message.track]
        if message.end <= track.final_end:
            return  # came again after a resume
        track.final_end = message.end
        self._commit(track, to_client(Position(message.end), track.sample_rate))
        self.finals.append(message)
        self._effects.append(Deliver(message))

    def _spotted(self, message: wire.Spotted) -> None:
        occurrence = (message.track, message.phrase, message.end)
        if occurrence not in self._heard:  # it comes again after a resume
            self._heard.add(occurrence)
            self._effects.append(Deliver(message))

    def _status(self, message: wire.Status) -> None:
        self._effects.append(Deliver(message))
        if message.status != "rewind" or message.next is None:
            return
        for track in self._which(message.track):
            if not self._move_cursor(track, message.next):
                return
            if track.cursor == track.end or track.was_paused or self._in_force:
                # An empty frame says that the rewind was heard.
                self._effects.append(SendAudio(encode_frame(AudioFrame(track.number, track.cursor, b""))))
            self._tell_settings(track)
            self._tell_state(track)
        self._pump_all()

    def _ended(self, message: wire.Ended) -> None:
        self._effects.append(Deliver(message))
        self._leave(State.ENDED, None)

    def _ignore(self, _: Any) -> None:
        """The session is over."""

    # ------------------------------------------------------------------ what they are made of

    def _move_cursor(self, track: ClientTrack, position: int) -> bool:
        if track.move_cursor(position):
            return True
        sentence = f"the server wants sample {position} of track {track.number}; kept are {track.begin} to {track.end}"
        self._fail(ClientError("protocol_error", sentence))
        return False

    def _tell_state(self, track: ClientTrack) -> None:
        state = track.state_at_cursor()
        if state is not None:
            self._effects.append(SendText(state))

    def _tell_settings(self, track: ClientTrack) -> None:
        """Those in force at the cursor, once any that were changed are final: their marks are not sent again.

        Redis may have lost them, and the gateway may never have seen them.
        """
        if not self._in_force:
            return
        settings = dict(self._changed)
        for mark in track.marks:
            if isinstance(mark.message, wire.Configure) and mark.at < track.cursor:
                settings |= _given(mark.message)
        self._effects.append(SendText(wire.Configure(track=track.number, **settings)))

    def _pump_all(self) -> None:
        for track in self.tracks:
            self._pump(track)
        self._settle()

    def _pump(self, track: ClientTrack) -> None:
        """Sends all that window and marks allow, in order; only while sound flows."""
        if self.state not in (State.STREAMING, State.DRAINING, State.STOPPING):
            return
        longest = round(self._frame_s * track.sample_rate)
        while True:
            mark = next((mark for mark in track.marks if not mark.sent), None)
            limit = min(track.end if mark is None else mark.at, track.window_end)
            while track.cursor < limit:
                end = min(limit, track.cursor + longest)
                if track.paused_at(track.cursor):  # a mark stands at either end of a pause, so all of this is muted
                    frame = AudioFrame(track.number, end, b"")
                else:
                    frame = AudioFrame(track.number, track.cursor, track.slice(track.cursor, end))
                self._effects.append(SendAudio(encode_frame(frame)))
                track.cursor = end
            if mark is None or track.cursor < mark.at:
                return
            self._effects.append(SendText(mark.message))
            mark.sent = True

    def _settle(self) -> None:
        if self.state not in (State.STREAMING, State.DRAINING, State.STOPPING):
            return
        if not all(track.stop_asked for track in self.tracks):
            self.state = State.STREAMING
        elif all(track.sent_all for track in self.tracks):
            self.state = State.STOPPING
        else:
            self.state = State.DRAINING

    def _commit(self, track: ClientTrack, position: int) -> None:
        """What is final is never sent again: settings that came into force before it are part of ``start`` now.

        Redis may come back empty, and then a later ``start`` and the marks from ``committed`` on are all that is known.
        """
        for mark in track.commit(position):
            while self._in_force < mark.configures:
                settings = self._configures.popleft()
                self._start = wire.configured(self._start, settings)
                self._changed |= _given(settings)
                self._in_force += 1

    def _set_timer(self, delay_s: float) -> None:
        self._due = self._now + delay_s
        self._effects.append(SetTimer(self._due))

    def _fail(self, error: ClientError) -> None:
        self._leave(State.FAILED, error)

    def _leave(self, state: State, error: ClientError | None) -> None:
        self._effects.append(Disconnect(self.connection))
        self.connection += 1
        self._due = None
        self.state = state
        self._effects.append(Finished(error))


def _given(configure: wire.Configure) -> dict[str, Any]:
    return {name: getattr(configure, name) for name in configure.settings}
