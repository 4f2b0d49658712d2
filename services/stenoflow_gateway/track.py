"""One track of a session as its gateway sees it: what came, what is final, what may come, how old the oldest is.

Pure state and arithmetic; what follows from it is decided in ``session.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from stenoflow.base.errors import LogGap
from stenoflow.base.ids import TrackKey
from stenoflow.base.positions import SAMPLE_RATE, ClientPosition, Position, to_client, to_position
from stenoflow.bus.entry import Cursor, Entry, EntryId, Kind, MarkKind
from stenoflow.bus.records import StageProgress, Stages, TrackInfo
from stenoflow.protocol.frames import MAX_FRAME_SECONDS
from stenoflow.protocol.messages import AckTrack, EndedTrack, ProgressTrack, TrackRequest
from stenoflow_gateway.audio_writer import AudioWriter
from stenoflow_gateway.caption_latency import CaptionLatency
from stenoflow_gateway.encodings import Decoder, decoder_of

MARKS_PER_S = 20
"""Marks that a client may send on one track (DESIGN 2, sentence 8)."""


class _Words(msgspec.Struct):
    text: str
    words: list[msgspec.Raw] = []


_read_words = msgspec.json.Decoder(_Words).decode


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
    _marks_left: float = MARKS_PER_S
    _marks_at: float = 0.0

    def __post_init__(self) -> None:
        self.finals = Cursor(self.key, self.info.base)
        self.to_pcm = decoder_of(self.info.encoding)
        self.decoder = self.info.base
        self.stopped = self.writer.over

    # ------------------------------------------------------------------ positions

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

    def take_finals(self, entries: Sequence[tuple[EntryId, Entry]]) -> tuple[list[Entry], bool]:
        """The entries whose caption the client does not have yet; counts all of them.

        Returns:
            them, and whether they are followed by a gap, behind which nothing was taken.
        """
        fresh: list[Entry] = []
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
            if not said.text:
                continue
            self.utterances += 1
            self.words += len(said.words)
            if entry.end > self.delivered:
                fresh.append(entry)
        self.note_decoded(self.committed)
        self.delivered = max(self.delivered, self.committed)
        return fresh, gap

    def may_mark(self, now: float) -> bool:
        """Whether one more mark is within the rate; counts it."""
        self._marks_left = min(float(MARKS_PER_S), self._marks_left + (now - self._marks_at) * MARKS_PER_S)
        self._marks_at = now
        if self._marks_left < 1:
            return False
        self._marks_left -= 1
        return True

    def _position(self, client: int) -> int:
        return to_position(ClientPosition(client), self.info.sample_rate)
