"""One track of a session as its gateway sees it: what came, what is final, what may come, how old the oldest is.

Pure state and arithmetic; what follows from it is decided in ``session.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stenoflow.base.errors import LogGap
from stenoflow.base.ids import TrackKey
from stenoflow.base.positions import SAMPLE_RATE, ClientPosition, Position, to_client, to_position
from stenoflow.bus.entry import Cursor, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.records import StageProgress, Stages, TrackInfo
from stenoflow.protocol.frames import MAX_FRAME_SECONDS
from stenoflow.protocol.messages import AckTrack, EndedTrack, ProgressTrack, Spotted, TrackRequest
from stenoflow.runtime.spotted import ToldOnce
from stenoflow_gateway.session.audio_writer import AudioWriter
from stenoflow_gateway.session.caption_latency import CaptionLatency
from stenoflow_gateway.session.encodings import Decoder, decoder_of

MARKS_PER_S = 20
"""Marks that a client may send on one track (DESIGN 2, sentence 8)."""

CONFIGURE_COST = 10
"""A ``configure`` counts as so many: with its phrases it may be as long as a second of sound."""


class _Words(msgspec.Struct):
    text: str
    words: list[msgspec.Raw] = []


_read_words = msgspec.json.Decoder(_Words).decode


class Configured(NamedTuple):
    """What was changed of the session's settings from a position on (16 kHz): all changes so far, and their number."""

    at: int
    changes: int
    settings: Mapping[str, Any]


class FreshFinal(NamedTuple):
    """An entry of ``finals`` that is news: its caption, unless nothing was said, and the phrases that were spotted."""

    entry: Entry
    has_text: bool
    spotted: list[Spotted]


@dataclass(slots=True)
class GatewayTrack:
    """A track between its client and its logs.

    Args:
        key: in the present epoch.
        info: from the record.
        request: from the client's ``start``.
        writer: the audio log's end.
        window_s: how far beyond the decoder sound is admitted.
        delivered: the client has all finals before this, 16 kHz samples.
        second_pass: finals come from a second pass, drafts before them.
    """

    key: TrackKey
    info: TrackInfo
    request: TrackRequest
    writer: AudioWriter
    window_s: float
    delivered: int
    second_pass: bool = False
    stopped: bool = False
    stop_asked: bool = False
    """The client knows that no more sound is taken; else somebody else ended the track."""
    heard_to: ClientPosition | None = None
    """Where the client is: the end of its newest frame, also of one that the log has; None before the first."""
    rewinding: bool = False
    """The client was told to send again from ``writer.next``; until that comes, what comes is dropped."""
    mark_dropped_at: float | None = None
    """When a mark was dropped while rewinding: it may have been sent after the client heard of the rewind."""
    jumps: int = 0
    """Jumps beyond ``next`` since the last frame that fitted."""
    window_told: int = 0
    retry_at: float | None = None
    asking: bool = False
    """The log's tail is being read; nothing is appended meanwhile."""
    suspect: bool = False
    """The server changed while an append was in flight: the tail is read before the next one."""
    over: bool = False
    """All finals are there."""
    gap_at: int | None = None
    """Where finals were missing before: a second time at the same place is a loss."""
    utterances: int = 0
    words: int = 0
    decoder: int = 0
    drafted: int = 0
    """End of the drafts that the client was sent."""
    stages: Mapping[Stages, StageProgress] = field(default_factory=dict)
    latency: CaptionLatency = field(default_factory=CaptionLatency)
    finals: Cursor = field(init=False)
    to_pcm: Decoder = field(init=False)
    _ages: deque[tuple[int, int]] = field(default_factory=deque)
    _configured: list[Configured] = field(default_factory=list)
    _spotted: ToldOnce = field(default_factory=ToldOnce)
    _marks_left: float = MARKS_PER_S
    _marks_at: float = 0.0
    _marks_position: int = 0
    _settings_told: bool = False

    def __post_init__(self) -> None:
        self.finals = Cursor(self.key, self.info.base)
        self.to_pcm = decoder_of(self.info.encoding)
        self.decoder = self.info.base
        self.stopped = self.writer.over

    # ------------------------------------------------------------------ positions

    @property
    def repeats(self) -> bool:
        """Whether the client, told twice to send again, repeats what has come: the marks there have come too."""
        return self.heard_to is not None and self.heard_to < self.writer.next

    @property
    def committed(self) -> int:
        """End of the finals that were read, 16 kHz samples."""
        return self.finals.position

    @property
    def committed_client(self) -> int:
        """The same in client samples; at the very end, the end of the sound."""
        if self.over:
            return self.writer.received
        return to_client(Position(max(self.committed, self.delivered)), self.info.sample_rate)

    @property
    def window_end(self) -> int:
        """The client may send up to here, client samples."""
        return to_client(Position(self.decoder), self.info.sample_rate) + round(self.window_s * self.info.sample_rate)

    @property
    def window_is_full(self) -> bool:
        """Whether the client may send less than its longest frame, so that it may have to wait."""
        return self.writer.next + MAX_FRAME_SECONDS * self.info.sample_rate > self.window_told

    def ack(self) -> AckTrack:
        """This track's line of an ``ack``; what it promises is remembered."""
        self.window_told = self.window_end
        return AckTrack(
            track=self.key.number,
            received=self.writer.received,
            committed=self.committed_client,
            window_end=self.window_told,
        )

    def progress(self) -> ProgressTrack:
        """This track's line of a ``progress``."""
        received = self._position(self.writer.received)
        decoder = received if self.over else min(self.decoder, received)
        duration_s = self.request.duration_s

        def of(stage: Stages) -> int:
            found = self.stages.get(stage)
            return min(max(found.position if found else self.info.base, decoder), received)

        return ProgressTrack(
            track=self.key.number,
            received=received,
            features=of(Stages.FEATURES),
            acoustic=of(Stages.ACOUSTIC),
            decoder=decoder,
            second_pass=min(self.committed, received) if self.second_pass else None,
            behind_s=round((received - decoder) / SAMPLE_RATE, 3),
            fraction=None if duration_s is None else min(1.0, decoder / SAMPLE_RATE / duration_s),
        )

    def ended(self) -> EndedTrack:
        """This track's totals."""
        return EndedTrack(
            track=self.key.number,
            received=self.writer.received,
            committed=self.committed_client,
            utterances=self.utterances,
            words=self.words,
        )

    def lag_s(self, wall_ms: int) -> float:
        """Age of the oldest received sample that the decoder has not covered (MEASURING 1)."""
        return max(0.0, (wall_ms - self._ages[0][1]) / 1000) if self._ages else 0.0

    # ------------------------------------------------------------------ news

    def note_appended(self, entry: Entry) -> None:
        """Sound is in the log: it ages until it is decoded."""
        if entry.end > entry.begin:
            end, received_ms = self._position(entry.end), entry.stamps["received"]
            self._ages.append((end, received_ms))
            self.latency.heard(self._position(entry.begin), end, received_ms)

    def note_decoded(self, position: int) -> bool:
        """The decoder is at ``position``; tells whether that is news."""
        if position <= self.decoder:
            return False
        self.decoder = position
        while self._ages and self._ages[0][0] <= position:
            self._ages.popleft()
        return True

    def take_finals(self, entries: Sequence[tuple[EntryId, Entry]]) -> tuple[list[FreshFinal], bool]:
        """What the client does not have yet; counts all.

        Returns:
            it, and whether it is followed by a gap, behind which nothing was taken.
        """
        fresh: list[FreshFinal] = []
        gap = False
        for entry_id, entry in entries:
            before = self.committed
            try:
                news = self.finals.take(entry_id, entry)
            except LogGap:
                gap = True
                break
            if news is None:
                continue
            if any(mark.kind is MarkKind.END for mark in news.marks):
                self.over = True
            if entry.kind is not Kind.FINAL or entry.end <= before or not entry.data:
                continue
            said = _read_words(entry.data)
            if said.text:
                self.utterances += 1
                self.words += len(said.words)
            spotted = self.take_spotted(entry.marks, final_to=entry.end)
            if (said.text or spotted) and entry.end > self.delivered:
                fresh.append(FreshFinal(entry, bool(said.text), spotted))
        self.note_decoded(self.committed)
        self.delivered = max(self.delivered, self.committed)
        return fresh, gap

    def may_mark(self, now: float, cost: int = 1) -> bool:
        """Whether one more mark, which counts as ``cost``, is within the rate; counts it.

        A second of time or of sound, whichever is more: after a break the marks of many seconds come again at once.
        """
        sound = (self.writer.next - self._marks_position) / self.info.sample_rate
        passed = max(now - self._marks_at, sound)
        self._marks_at, self._marks_position = now, self.writer.next
        self._marks_left = min(float(MARKS_PER_S), self._marks_left + passed * MARKS_PER_S)
        if self._marks_left < cost:
            return False
        self._marks_left -= cost
        return True

    def may_configure(self, now: float) -> bool:
        """The same of a ``configure``. The first is free: a client that goes on says what is in force."""
        first, self._settings_told = not self._settings_told, True
        return self.may_mark(now, 0 if first else CONFIGURE_COST)

    def forget_marks(self) -> None:
        """The log lost its end: what the client says again was counted already."""
        self._marks_left, self._marks_position, self._settings_told = MARKS_PER_S, self.writer.next, False

    def note_configured(self, settings: Mapping[str, Any]) -> None:
        """Settings change at the next sample; of what is final only the last change is kept."""
        before = self._configured[-1] if self._configured else Configured(0, 0, {})
        at = self._position(self.writer.next)
        kept = max(0, sum(each.at <= self.delivered for each in self._configured) - 1)
        now = Configured(at, before.changes + 1, {**before.settings, **settings})
        self._configured = [*self._configured[kept:], now]

    def forget_configured(self) -> None:
        """Of what changed from ``next`` on: the client sends it again."""
        at = self._position(self.writer.next)
        self._configured = [each for each in self._configured if each.at < at]

    def configured_at(self, position: int) -> Configured:
        """What was changed by a position that is not before what is final."""
        found = [each for each in self._configured if each.at <= position]
        return found[-1] if found else Configured(position, 0, {})

    def take_spotted(self, marks: Sequence[Mark], *, final_to: int | None = None) -> list[Spotted]:
        """Occurrences of phrases that the client was not told of on this socket.

        Args:
            marks: of an entry of ``live``, or of ``finals``, which has them all.
            final_to: end of the entry of ``finals``: nothing that fired before it is news any more.
        """
        return self._spotted.take(self.key.number, marks, self.committed, final_to=final_to)

    def _position(self, client: int) -> int:
        return to_position(ClientPosition(client), self.info.sample_rate)
