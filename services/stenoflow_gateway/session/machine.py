"""The gateway's side of a session as a sans-I/O machine: events in, effects out.

Rules of this file. No I/O, no clock and no chance: each event says when it happened, the shell (``socket.py``) carries
effects out and comes back with what they gave. Every reaction starts in :data:`TRANSITIONS`; a missing cell is a bug
of the shell. What the *client* may not do is a :class:`ClientError`: it goes on the wire and ends this socket alone.

The theory. A machine holds nothing that another gateway could not rebuild from Redis and the client's token. The
audio log is the only place where sound is safe: what is in it is acknowledged, what is not the client keeps and sends
again. So whatever happens to Redis ends in one of three ways: the log's tail is *adopted* (it goes further than was
known), the client *rewinds* to the tail (the log lost its end, but nothing that is final), or the session is
*reopened* in a new epoch at what the client has as finals (DESIGN 8).

    GREETING ─start→ OPENING ──opened→ STREAMING ─stop of all→ STOPPING ─all finals→ CLOSED
        └─start with token→ CONNECTING ──┘  ↑  └── logs gone ──┬──┘
                                            └──── REOPENING ←──┘         any state ─error, drain, gone→ CLOSED
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stenoflow.base.errors import ClientError, StenoflowError
from stenoflow.base.ids import MAX_TRACKS
from stenoflow.base.positions import ClientPosition, Position, to_client
from stenoflow.bus.entry import Entry, Kind, MarkKind
from stenoflow.bus.logs import Tail
from stenoflow.bus.records import SessionRecord, SessionState
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import MAX_FRAME_SECONDS, AudioFrame, split_frame
from stenoflow.runtime.drafts import UNHEARD, configured_in
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.captions import draft_of, latency_of, quality_of
from stenoflow_gateway.session.encodings import decoder_of
from stenoflow_gateway.session.events import Code, Effect, Event, Moment
from stenoflow_gateway.session.logs import LogKeeper, superseded
from stenoflow_gateway.session.opening import ended_tail, holds, new_record, opening_tail, seen_by_client
from stenoflow_gateway.session.resume_tokens import hash_of, session_of
from stenoflow_gateway.session.states import TRANSITIONS, State
from stenoflow_gateway.session.track import CONFIGURE_COST, GatewayTrack

PROGRESS_S = 0.5
"""``progress`` comes at least, and ``latency`` at most, this often."""

GREETING_S = 10.0
"""A socket on which no ``start`` came for so long is closed."""

REWIND_S = 2.0
"""A rewound client that sent a mark but not ``next`` for so long is asked to reconnect, which says what it meant."""

MAX_JUMPS = 3
"""Jumps beyond ``next`` in a row before the socket is closed: the client does not understand ``rewind``."""

MAX_TEXT = 64 * 1024
"""Longest text message, characters."""


class Session(LogKeeper):
    """The machine of one socket.

    Args:
        session: a fresh id, used where the client starts a new session.
        token: its resume token.
        window_s: per kind of session, how far beyond the decoder sound is admitted, seconds.
        at: now.
        idle: how long the client may be silent.
        grant: what the client may do.
    """

    def receive(self, event: Event, at: Moment) -> Sequence[Effect]:
        """Takes one event; returns what is to be done, in this order, before the next event."""
        self._effects = []
        self._at = at
        method = TRANSITIONS[self.state].get(type(event))
        assert method is not None, f"{type(event).__name__} in state {self.state}"
        if isinstance(event, on.Timer):
            self._armed = None
        reaction: Callable[[Any], None] = getattr(self, method)
        try:
            reaction(event)
        except ClientError as error:
            self._refuse(error, Code.BAD_CLIENT)
        self._arm()
        return self._effects

    # ------------------------------------------------------------------ the client: start

    def _greet(self, event: on.Text) -> None:
        start = _parse(event.text)
        if not isinstance(start, wire.Start):
            raise ClientError("start_expected", f"the first message must be 'start'; this one is '{start.type}'")
        self._start = start
        self._heard()
        for request in start.tracks:
            decoder_of(request.encoding)  # what cannot be heard here is refused before anything is opened
        wanted = None if start.resume is None else session_of(start.resume.token)
        if self._grant.session not in (None, wanted):
            sentence = f"this token is for the session {self._grant.session} alone; resume that one"
            self._refuse(ClientError("forbidden", sentence), Code.FORBIDDEN)
            return
        if start.resume is not None and wanted is not None:
            self._fresh = False
            self._token = start.resume.token
            self.id = wanted
            self.state = State.CONNECTING
            self._effects.append(on.Connect(self.id, self._token, start))
            return
        self.state = State.OPENING
        self._effects.append(on.Open(self._new_record(start), admit=True))

    def _new_record(self, start: wire.Start) -> SessionRecord:
        return new_record(self.id, hash_of(self._token), start, self._at.wall_ms, self._grant.tenant)

    def _too_early(self, event: on.Text | on.Binary) -> None:
        what = "sound" if isinstance(event, on.Binary) else "a message"
        raise ClientError(
            "audio_before_start" if isinstance(event, on.Binary) else "start_expected",
            f"{what} came before the session was open; send 'start' and wait for 'started'",
        )

    def _no_start(self, _: on.Timer) -> None:
        if self._at.monotonic < self._begun_at + GREETING_S:
            return
        raise ClientError("start_expected", f"no 'start' came within {GREETING_S:.0f} s; send it first")

    # ------------------------------------------------------------------ answers to Open and Connect

    def _opened(self, event: on.Opened) -> None:
        self._look_ahead_ms = event.look_ahead_ms
        self._set_up(event.record, [(opening_tail(event.record, n), None) for n in range(len(event.record.tracks))])
        self._begin()

    def _connected(self, event: on.Connected) -> None:
        assert self._start is not None
        assert self._start.resume is not None
        self._look_ahead_ms = event.look_ahead_ms
        seen = seen_by_client(self._start)
        record = event.record
        if record is None:  # Redis came back empty: the token is the client's word, and a new epoch begins there
            self._open_at(self._new_record(self._start), seen)
            return
        asked = [(track.sample_rate, track.encoding) for track in self._start.tracks]
        if asked != [(track.sample_rate, track.encoding) for track in record.tracks]:
            raise ClientError(
                "tracks_changed", "a session is resumed with the tracks, rates and encodings that it began with"
            )
        self.record = record
        if record.state is SessionState.BROKEN and not self._may_mend(record):
            return
        tails: list[tuple[Tail, Tail | None]] = []
        ended = record.state is SessionState.ENDED
        whole = record.state is not SessionState.BROKEN
        for number, (audio, finals) in enumerate(event.tails):
            if ended and finals is None:  # kept as long as the session asked for, and no longer
                self._refuse(ClientError("session_ended", "this session has ended; start a new one"), Code.NO_SESSION)
                return
            if ended and finals is not None:
                audio = audio or ended_tail(record, number, finals)
                whole = whole and finals.entry.ends
            whole = whole and audio is not None and finals is not None and holds(record, number, audio, finals, seen)
            if audio is not None:
                tails.append((audio, finals))
        if whole:
            self._set_up(record, tails, seen)
            self._begin()
        else:
            self._open_at(record, seen)

    def _open_lost(self, _: on.OpenLost) -> None:
        if self._fresh and self.state is State.OPENING:
            self._refuse(superseded(), Code.SUPERSEDED)
        elif self.state is State.OPENING:
            # Another socket of the same client came back at the same moment; the later one wins, which may be this.
            error = StenoflowError("try_again", "the session moved; resume again", retryable=True, retry_after_ms=200)
            self._refuse(error, Code.TRY_LATER)
        else:
            self._gone = True
            self._effects.append(on.ReadRecord(self.id))

    def _failed(self, event: on.Failed) -> None:
        self._refuse(event.error, event.code)

    def _opened_for_nobody(self, event: on.Opened) -> None:
        """The client left while its session was opened: it never knew of it, so its places are free at once."""
        if self._fresh:
            self._effects.append(on.Finish(event.record, abandoned=True))
            self._fresh = False

    def _begin(self) -> None:
        assert self.record is not None
        self._fresh = False
        self._become_streaming()
        self._effects.append(on.Follow(self.record))
        self._send(
            wire.Started(
                session=self.id,
                resume_token=self._token,
                bundle=self.record.bundle,
                second_pass=self.record.second_pass,
                tracks=tuple(
                    wire.StartedTrack(
                        track=track.key.number,
                        name=track.info.name,
                        next=track.writer.next,
                        committed=to_client(Position(track.delivered), track.info.sample_rate),
                        paused=track.writer.paused,
                    )
                    for track in self.tracks
                ),
                limits=wire.Limits(
                    window_s=self._windows[self.record.kind], max_frame_s=MAX_FRAME_SECONDS, max_tracks=MAX_TRACKS
                ),
            )
        )
        self._ack()
        self._progress_due = self._at.monotonic + PROGRESS_S

    # ------------------------------------------------------------------ the client: sound and marks

    def _sound(self, event: on.Binary) -> None:
        self._heard()
        number, position, payload = split_frame(event.data)
        if number >= len(self.tracks):
            raise ClientError(
                "unknown_track", f"track {number} is none of this session's {len(self.tracks)}; see 'started'"
            )
        track = self.tracks[number]
        frame = AudioFrame(number, position, track.to_pcm(payload))
        rate = track.info.sample_rate
        if frame.end - frame.position > MAX_FRAME_SECONDS * rate:
            raise ClientError(
                "oversized_frame",
                f"a frame of {(frame.end - frame.position) / rate:.1f} s came; send at most {MAX_FRAME_SECONDS:.0f} s",
            )
        at = track.writer.next
        if track.rewinding:
            if not frame.position <= at <= frame.end:
                return
            track.rewinding, track.mark_dropped_at = False, None
        track.heard_to = ClientPosition(frame.end)
        if track.stopped:
            if frame.end > at and track.stop_asked:
                raise ClientError(
                    "audio_after_stop", f"track {frame.track} was stopped at {at}; start another session for more"
                )
            if frame.end > at:
                track.stop_asked = True  # from here on the client knows
                self._send_track_ended(track)
            return
        if frame.position > at and not track.writer.paused:
            self._jump(track, frame.position)
            return
        if frame.end > track.window_told:
            raise ClientError(
                "window_exceeded",
                f"track {frame.track} was sent up to {frame.end}, but its window ends at {track.window_told}; "
                "send no further than the last ack's window_end",
            )
        if frame.end > at:
            track.jumps = 0
            if track.writer.paused:  # what is said while a track is muted does not get beyond this line
                track.writer.push_silence(frame.end, self._at.wall_ms)
            else:
                track.writer.push(frame.samples[2 * (at - frame.position) :], self._at.wall_ms)
            self._pump(track)

    def _jump(self, track: GatewayTrack, position: int) -> None:
        """Samples are missing: nothing is skipped in silence, the client sends them again."""
        track.jumps += 1
        sentence = f"track {track.key.number} goes on at {position}, but {track.writer.next} is next; send from there"
        if track.jumps > MAX_JUMPS:
            raise ClientError("position_jump", sentence)
        self._send(wire.Warning(code="position_jump", message=sentence, retryable=True))
        self._rewind(track)

    def _command(self, event: on.Text) -> None:
        self._heard()
        message = _parse(event.text)
        if isinstance(message, wire.Start):
            raise ClientError("already_started", "this socket has its session; open another socket for another one")
        if self.state is State.REOPENING:  # the client sends it again after the rewind that is to come
            self._mark_dropped = True
            return
        if message.track is not None and message.track >= len(self.tracks):
            raise ClientError(
                "unknown_track", f"track {message.track} is none of this session's {len(self.tracks)}; see 'started'"
            )
        for track in self.tracks if message.track is None else [self.tracks[message.track]]:
            if track.stopped:  # said twice, as after a resume
                track.stop_asked = track.stop_asked or isinstance(message, wire.Stop)
                continue
            if track.rewinding:
                track.mark_dropped_at = track.mark_dropped_at or self._at.monotonic
            elif track.repeats and not isinstance(message, wire.Stop):
                continue
            elif isinstance(message, wire.Stop):
                track.stopped = track.stop_asked = True
                track.writer.mark(MarkKind.END)
            elif isinstance(message, wire.Pause | wire.Unpause):
                self._pause(track, isinstance(message, wire.Pause))
            elif not self._may_mark(track, message):
                sentence = f"more than 20 marks a second came on one track (configure counts as {CONFIGURE_COST}); "
                sentence += "this one was left out, send it again"
                self._send(wire.Warning(code="too_many_marks", message=sentence, retryable=True))
            elif isinstance(message, wire.Configure):
                track.writer.mark(MarkKind.CONFIGURE, fields=message.settings)
                track.note_configured(message.settings)
            else:
                track.writer.mark(MarkKind.FINALIZE)
            self._pump(track)
        self._become_streaming()

    def _may_mark(self, track: GatewayTrack, message: wire.Configure | wire.Finalize) -> bool:
        now = self._at.monotonic
        return track.may_configure(now) if isinstance(message, wire.Configure) else track.may_mark(now)

    def _pause(self, track: GatewayTrack, paused: bool) -> None:
        """A mute holds at once, whatever the rate of marks; only the end of the open utterance may come later."""
        if paused and not track.writer.paused and track.may_mark(self._at.monotonic):
            track.writer.mark(MarkKind.PAUSE)
        track.writer.pause(paused)

    # ------------------------------------------------------------------ captions

    def _finals_read(self, event: on.FinalsRead) -> None:
        track = self._track(event.track)
        if track is None:
            return
        before = track.committed, track.over
        fresh, gap = track.take_finals(event.entries)
        for entry, has_text, spotted in fresh:
            for message in spotted:
                self._send(message)
            if not has_text:
                continue
            self._effects.append(on.Forward(track.key.number, entry.data, superseded=False))
            if track.second_pass:
                self._note_reduced(UNHEARD in entry.carry)
            else:
                self._measure(track, entry)
            self._effects.extend(track.latency.final(entry, self._at.wall_ms))
        if (track.committed, track.over) != before:
            self._ack()
        if gap and track.gap_at == track.committed:
            self._reopen()
        elif gap:  # read once more from what was taken (sentence 1)
            track.gap_at = track.committed
            self._effects.append(on.Follow(self.record))
        elif all(other.over for other in self.tracks):
            self._end()

    def _drafts_read(self, event: on.DraftsRead) -> None:
        track = self._track(event.track)
        if track is None or self._start is None:
            return
        for entry in event.entries:
            if entry.kind is not Kind.FINAL or entry.end <= max(track.drafted, track.committed):
                continue
            track.drafted = entry.end
            draft = draft_of(entry)
            if draft is not None and configured_in(entry).get("partials", self._start.partials):
                self._effects.append(on.Forward(track.key.number, draft, superseded=False))
                self._effects.extend(track.latency.draft(entry, self._at.wall_ms))
                self._measure(track, entry)

    def _note_reduced(self, reduced: bool) -> None:
        """Tells when the second pass cannot keep up, and when it can again."""
        if reduced != self._reduced:
            self._reduced = reduced
            self._tell_condition()

    def _live_read(self, event: on.LiveRead) -> None:
        track = self._track(event.track)
        if track is None or self._start is None:
            return
        partial: Entry | None = None
        for entry in event.entries:
            if entry.kind is not Kind.LIVE:
                continue
            track.note_decoded(entry.end)
            for mark in entry.marks:
                if mark.kind is MarkKind.QUALITY and not track.writer.paused:  # nobody is to mend a muted track
                    self._send(quality_of(track.key.number, mark))
            for message in track.take_spotted(entry.marks):
                self._send(message)
            # A partial of an utterance that is final is dropped (DESIGN 7): all before `committed` is final.
            if entry.data and entry.end > max(track.committed, track.drafted):
                partial = entry
        if partial is not None:  # whether partials are wanted is the decoder's to know: it makes none
            self._effects.append(on.Forward(track.key.number, partial.data, superseded=True))
            self._effects.extend(track.latency.partial(partial, self._at.wall_ms))
        if event.entries and event.entries[-1].stamps:
            self._measure(track, event.entries[-1])

    def _progress_read(self, event: on.ProgressRead) -> None:
        for track in self.tracks:
            track.stages = event.progress.get(track.key, track.stages)

    def _measure(self, track: GatewayTrack, entry: Entry) -> None:
        if "received" in entry.stamps:
            self._effects.append(on.Measured("chunk", self._age_s(entry)))
        if self._at.monotonic >= self._latency_due and self._start is not None:
            latency = latency_of(track.key.number, entry, self._at.wall_ms, self._start.chunk_ms, self._look_ahead_ms)
            if latency is not None:
                self._latency_due = self._at.monotonic + PROGRESS_S
                self._send(latency)

    def _age_s(self, entry: Entry) -> float:
        """Since the newest sound in it arrived."""
        return max(0, self._at.wall_ms - entry.stamps["received"]) / 1000

    # ------------------------------------------------------------------ time

    def _timer(self, _: on.Timer) -> None:
        now = self._at.monotonic
        self._look_for_the_client()
        for track in self.tracks:
            if track.retry_at is not None and now >= track.retry_at:
                track.retry_at = None
                if track.writer.in_flight is not None:
                    self._effects.append(on.Append(track.key, *track.writer.in_flight))
            if track.rewinding and track.mark_dropped_at is not None and now >= track.mark_dropped_at + REWIND_S:
                self._drain(on.Drain())
                return
        if now >= self._ack_due:
            self._ack()
        if now >= self._progress_due:
            self._progress_due = now + PROGRESS_S
            self._send(wire.Progress(tracks=tuple(track.progress() for track in self.tracks)))

    def _arm(self) -> None:
        match self.state:
            case State.CLOSED:
                return
            case State.GREETING | State.OPENING | State.CONNECTING:
                due = self._begun_at + GREETING_S
                if self._at.monotonic >= due:
                    return
            case _:
                due = min(self._ack_due, self._progress_due)
                for track in self.tracks:
                    if track.retry_at is not None:
                        due = min(due, track.retry_at)
        if self._armed is None or due < self._armed:
            self._armed = due
            self._effects.append(on.SetTimer(due))


def _parse(text: str) -> wire.Start | wire.Configure | wire.Finalize | wire.Pause | wire.Unpause | wire.Stop:
    if len(text) > MAX_TEXT:
        raise ClientError(
            "oversized_message", f"a text message of {len(text)} characters came; send at most {MAX_TEXT}"
        )
    return wire.parse_client(text)
