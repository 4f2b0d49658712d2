"""The session machine's other half: the audio logs, what becomes of them, and new epochs (DESIGN 2 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stenoflow.base.errors import ClientError, StenoflowError
from stenoflow.base.positions import Position, to_client
from stenoflow.bus.entry import MarkKind
from stenoflow.bus.logs import Appended, Full, Gone, Refused, Tail
from stenoflow.bus.records import SessionRecord, SessionState
from stenoflow.protocol import messages as wire
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.audio_writer import GATEWAY, AudioWriter
from stenoflow_gateway.session.base import SessionBase
from stenoflow_gateway.session.caption_latency import CaptionLatency
from stenoflow_gateway.session.events import Code
from stenoflow_gateway.session.opening import at_bases, opening_tail
from stenoflow_gateway.session.states import State
from stenoflow_gateway.session.track import GatewayTrack

RETRY_S = 0.2
"""Pause before an append is tried again that Redis refused for want of memory, or did not answer."""


class LogKeeper(SessionBase):
    """Appends sound, takes the logs' word, and opens a new epoch where they are gone."""

    # ------------------------------------------------------------------ the audio logs

    def _pump(self, track: GatewayTrack) -> None:
        if track.asking or track.retry_at is not None:
            return
        entry = track.writer.entry()
        if entry is not None:
            self._effects.append(on.Append(track.key, *entry))

    def _append_done(self, event: on.AppendDone) -> None:
        track = self._track(event.track)
        if track is None:
            return
        match event.outcome:
            case Appended():
                track.note_appended(track.writer.appended())
                if self._behind and not any(other.retry_at for other in self.tracks):
                    self._behind = False
                    self._tell_condition()
                self._ack()
            case Full():
                track.retry_at = self._at.monotonic + RETRY_S
                if not self._behind:
                    self._behind = True
                    self._tell_condition()
            case Refused() | None:
                self._ask(track)
            case Gone():
                self._log_is_gone()
        if track.suspect:
            track.suspect = False
            self._ask(track)
        else:
            self._pump(track)

    def _ask(self, track: GatewayTrack) -> None:
        if not track.asking:
            track.asking = True
            track.retry_at = None
            self._effects.append(on.ReadTail(track.key))

    def _tail_read(self, event: on.TailRead) -> None:
        track = self._track(event.track)
        if track is None:
            return
        track.asking = False
        tail = event.tail
        if tail is None:
            self._log_is_gone()
            return
        if tail.id < track.writer.tail_id:
            # A failover lost the log's end. What the client has as finals is safe with it; the rest it still keeps.
            if tail.entry.end < to_client(Position(track.delivered), track.info.sample_rate):
                self._reopen()
                return
            track.writer.rewind(tail)
            track.forget_marks()
            track.stopped = track.writer.over
            self._become_streaming()
            self._ack()
            self._rewind(track)
            return
        track.writer.adopt(tail)
        if track.writer.over and not track.stopped:
            track.stopped = True
            self._send_track_ended(track)
            self._become_streaming()
        self._ack()
        self._pump(track)

    def _server_changed(self, _: on.ServerChanged) -> None:
        for track in self.tracks:
            if track.writer.in_flight is not None and track.retry_at is None:
                track.suspect = True
            else:
                self._ask(track)

    def _log_is_gone(self) -> None:
        """A log is gone: the record says whose turn it is (sentence 7)."""
        if not self._gone:
            self._gone = True
            self._effects.append(on.ReadRecord(self.id))

    def _record_read(self, event: on.RecordRead) -> None:
        assert self.record is not None
        gone, self._gone = self._gone, False
        record = event.record
        if record is None:
            self._reopen()
        elif record.epoch != self.record.epoch:
            # Redis came back empty and another socket of this client was faster. A connection's number is never later
            # than the birth of its socket, so one that lies before ours is an older socket's, which must not win.
            if record.connection > max(self.record.connection, self._born_ms):
                self._refuse(superseded(), Code.SUPERSEDED)
            else:
                self._reopen()
        elif record.connection > self.record.connection:
            self._refuse(superseded(), Code.SUPERSEDED)
        elif record.state is SessionState.BROKEN:
            if self._may_mend(record):
                self._reopen()
        elif record.state is SessionState.ENDED and record.deleted:
            self._end()  # its last captions may be gone already
        elif record.state is SessionState.OPEN and gone:
            self._reopen()

    def _record_read_while_reopening(self, event: on.RecordRead) -> None:
        assert self.record is not None
        if event.record is not None and event.record.connection > self.record.connection:
            self._refuse(superseded(), Code.SUPERSEDED)
        elif self._gone:  # an opening was lost, yet nobody else's is there
            self._gone = False
            self._effects.append(on.Open(self.record, admit=False))

    def _may_mend(self, record: SessionRecord) -> bool:
        """A gap is mended by a new epoch (sentence 1); a call that kills workers is ended."""
        code, sentence = record.error or ("broken", "the session cannot go on; start a new one")
        if code == "log_gap":
            return True
        self._refuse(StenoflowError(code, sentence), Code.BROKEN)
        return False

    def _end(self) -> None:
        assert self.record is not None
        self._send(wire.Ended(tracks=tuple(track.ended() for track in self.tracks)))
        self._effects.append(on.Finish(self.record))
        self._close(Code.NORMAL)

    # ------------------------------------------------------------------ a client that is silent

    def _heard(self) -> None:
        self._heard_at = self._at.monotonic
        self._idle_told = False

    def _look_for_the_client(self) -> None:
        """Warns a client that sends nothing, and ends what it left open."""
        if any(not track.stopped and track.window_is_full for track in self.tracks):
            self._heard()  # it waits for us
        idle_s = self._at.monotonic - self._heard_at
        if self.state is not State.STREAMING or idle_s < self._idle.warning_s:
            return
        if idle_s >= self._idle.end_s:
            sentence = f"nothing came for {self._idle.end_s:g} s, so the session ends; start another one for more"
            self._send(wire.Warning(code="idle_ended", message=sentence, retryable=False))
            for track in self.tracks:
                if not track.stopped:
                    track.stopped = track.stop_asked = True
                    track.rewinding = False
                    track.writer.mark(MarkKind.END, GATEWAY)
                    self._pump(track)
            self._become_streaming()
        elif not self._idle_told:
            self._idle_told = True
            sentence = (
                f"nothing came for {self._idle.warning_s:g} s; the session ends after {self._idle.end_s:g} s: "
                "send sound, or a frame without samples"
            )
            self._send(wire.Warning(code="idle", message=sentence, retryable=True))

    # ------------------------------------------------------------------ a new epoch

    def _reopen(self) -> None:
        assert self.record is not None
        self._mark_dropped = False
        self._gone = False
        self._effects.append(on.Follow(None))
        self._open_at(self.record, {track.key.number: track.delivered for track in self.tracks})

    def _reopened(self, event: on.Opened) -> None:
        before = self.tracks
        self._set_up(event.record, [(opening_tail(event.record, n), None) for n in range(len(before))])
        self._effects.append(on.Follow(event.record))
        for track, old in zip(self.tracks, before, strict=True):
            track.utterances, track.words, track.over = old.utterances, old.words, old.over
        self._ack()  # the window before the rewind: the client sends at once
        for track in self.tracks:
            if track.over:
                track.stopped = True
                track.writer.mark(MarkKind.END, GATEWAY)
                self._pump(track)
                continue
            self._rewind(track)
            if self._mark_dropped:
                track.mark_dropped_at = self._at.monotonic
        self._become_streaming()

    def _open_at(self, record: SessionRecord, bases: Mapping[int, int]) -> None:
        """Opens a new epoch at what the client has (DESIGN 8)."""
        assert self._start is not None
        # Settings in force there; later ones come again, with the client's marks.
        changed = [track.configured_at(bases[track.key.number]) for track in self.tracks]
        if changed:
            newest = max(changed, key=lambda each: each.changes)
            self._start = wire.configured(self._start, wire.Configure.model_validate(newest.settings))
        self.record = at_bases(record, self._start, bases, max(record.connection, self._born_ms))
        self.state = State.REOPENING if self.tracks else State.OPENING
        self._effects.append(on.Open(self.record, admit=False))

    def _set_up(
        self,
        record: SessionRecord,
        tails: Sequence[tuple[Tail, Tail | None]],
        seen: Mapping[int, int] | None = None,
    ) -> None:
        assert self._start is not None
        self.record = record
        self.tracks = []
        for key, info, request, (audio, finals) in zip(
            record.track_keys(), record.tracks, self._start.tracks, tails, strict=True
        ):
            delivered = max(info.base, (seen or {}).get(key.number, 0))
            writer = AudioWriter(key, info.sample_rate, audio)
            track = GatewayTrack(
                key,
                info,
                request,
                writer,
                self._windows[record.kind],
                delivered,
                bool(record.second_pass),
                latency=CaptionLatency(record.kind == "live"),
            )
            if finals is not None:
                track.note_decoded(finals.entry.end)
            self.tracks.append(track)


def superseded() -> ClientError:
    """What a socket gets whose session another one has taken over."""
    return ClientError("superseded", "a newer connection speaks for this session; this one is closed")
