"""One track inside this room: from client samples and marks to what its next output entry holds.

Here meet resampler, detector, segmenter and quality, and here lives all of a track's state. Here never lives the
network itself: :meth:`Channel.listen` is a generator that asks for one probability at a time, so that the stage can
ask for many tracks at once. Positions are 16 kHz samples unless named ``client``.

What a fresh worker needs is in :meth:`Channel.take`'s carry and restart point (DESIGN 2, sentence 4): it adopts every
decision that the log holds, and runs the detector from its last reset on only to rebuild the recurrent state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import GRID, SAMPLE_RATE, ClientPosition, Position, to_client, to_position
from stenoflow.bus.entry import CLOSING_MARKS, Entry, Mark, MarkKind, Span
from stenoflow.runtime.stage import ResumeFrom, Track
from stenoflow_features.detector import CONTEXT, FRAME, FRESH, Heard, Window
from stenoflow_features.filterbank import LOOK_BACK, windows
from stenoflow_features.quality import Meter
from stenoflow_features.resample import Resampler, Samples
from stenoflow_features.segmenter import (
    HANG_OVER_MS,
    Segmentation,
    decide,
    hang_over_samples,
    interrupt,
    leave,
)

WHO: Final = "features"

# Order of marks at one position. A segment's end comes first, for whatever interrupts it follows from it; a segment's
# begin last, for it is written with its first frame only. Either way the order is the same whatever the chunking.
_SEGMENT_END, _QUALITY, _FOREIGN, _SEGMENT_BEGIN = range(4)


@dataclass(frozen=True, slots=True)
class Pending:
    """A mark on its way to the output.

    Args:
        mark: at its 16 kHz position.
        rank: among the marks at one position; those of one rank keep the order in which they came.
    """

    mark: Mark
    rank: int

    @property
    def order(self) -> tuple[int, int]:
        """Sorting key."""
        return (self.mark.at, self.rank)

    def may_pass(self, end: int) -> bool:
        """Whether it belongs into an entry that ends at ``end``; a segment's begin needs a frame after it."""
        return self.mark.at < end or (self.mark.at == end and self.rank != _SEGMENT_BEGIN)


@dataclass(frozen=True, slots=True)
class Output:
    """What can be written now; nothing where ``end == begin`` and there are no marks.

    Args:
        begin: end of what was written before.
        end: all before it is settled.
        spans: with frames.
        rows: per span the windows (T, 400) of its frames: views, valid until the next ``listen``.
        marks: in order.
        restart: R, client samples.
        carry: what a fresh worker adopts.
    """

    begin: int
    end: int
    spans: tuple[Span, ...]
    rows: tuple[Samples, ...]
    marks: tuple[Mark, ...]
    restart: int
    carry: dict[str, Any]


class Channel:
    """One track's state.

    Args:
        track: rate, base and settings.
        at: the newest entry of the output log; an opening entry (without carry) for a fresh track.
        trailing_silence_ms: hang-over where the session's settings name none.
    """

    def __init__(self, track: Track, at: ResumeFrom, trailing_silence_ms: int = HANG_OVER_MS) -> None:
        self.track = track
        rate = track.sample_rate
        self._base_client = to_client(Position(track.base), rate)
        self._client_at = at.restart
        start = to_position(ClientPosition(at.restart), rate)
        self._resampler = Resampler(rate, at.restart)
        # Zeros before the track begins. After a restart too, but there nothing asks for them.
        self._samples: Samples = np.zeros(LOOK_BACK, np.float32)
        self._samples_from = start - LOOK_BACK

        self._written = at.written
        self._known = frozenset(mark.identity for mark in at.marks_at_tail)
        self._pending: list[Pending] = []
        self._settings: deque[Mark] = deque()
        self._spans: list[Span] = []

        carry = at.tail.carry
        if carry:
            self._segmentation = Segmentation(**carry["segment"])
        else:
            silence = _trailing_silence(track.settings) or trailing_silence_ms
            self._segmentation = Segmentation.fresh(at.written, hang_over_samples(silence))
        self._adopted = self._segmentation.at
        self._heard = self._segmentation.reset
        self._memory = FRESH
        self._framed = self._written
        begin = self._segmentation.begin
        if begin is not None and begin >= self._written:
            self._add_own(MarkKind.SEGMENT_BEGIN, begin, _SEGMENT_BEGIN)

        self._second = self._written // SAMPLE_RATE
        if self._second * SAMPLE_RATE < track.base:
            self._second += 1  # the epoch began within it
        self._meter = Meter(rate, self._second, carry.get("quality", ()))
        self.restart = at.restart

    @property
    def written(self) -> int:
        """End of the output so far."""
        return self._written

    @property
    def _received(self) -> int:
        return self._resampler.produced

    def listen(self, entries: Sequence[Entry]) -> Generator[Window, Heard, None]:
        """Takes the input's news, in order; yields a window for each detector frame and is sent what was heard."""
        self._forget()
        for entry in entries:
            samples = _samples(entry, self._client_at)
            end = self._client_at + len(samples)
            start = self._client_at
            for mark in entry.marks:
                if mark.at >= start:
                    self._push(samples[self._client_at - start : mark.at - start])
                yield from self._advance()
                yield from self._meet(mark)
            self._push(samples[self._client_at - start :])
            assert self._client_at == max(end, start), (self._client_at, end)
            yield from self._advance()

    def take(self) -> Output:
        """What can be written after :meth:`listen`; counts as written from now on."""
        state, begin = self._segmentation, self._written
        if state.begin is None:
            end = max(begin, state.unclaimed)
        else:
            # More than the last decided frame is safe: an end lies beyond the sound of the frame that decides it.
            end = max(begin, self._received)
            self._frame_to(end)
        ready = [one for one in self._pending if one.may_pass(end)]
        self._pending = [one for one in self._pending if not one.may_pass(end)]
        spans, self._spans = tuple(self._spans), []
        carry: dict[str, Any] = {}
        if end > begin or ready:
            self._written = end
            second = end // SAMPLE_RATE
            self.restart = max(self.restart, self._restart_point(second))
            carry = {"segment": asdict(state), "quality": self._meter.remembered(second)}
        return Output(
            begin=begin,
            end=end,
            spans=spans,
            rows=tuple(windows(self._sound(span.begin - LOOK_BACK, span.end)) for span in spans),
            marks=tuple(one.mark for one in sorted(ready, key=lambda one: one.order)),
            restart=self.restart,
            carry=carry,
        )

    def _restart_point(self, second: int) -> int:
        """The detector's last reset or the present second's begin, less the memory of window and resampler."""
        needed = (min(self._segmentation.reset, second * SAMPLE_RATE) - LOOK_BACK) // GRID * GRID
        if needed <= self.track.base:
            return self._base_client
        block = self.track.sample_rate // 100
        client = to_client(Position(needed), self.track.sample_rate) - self._resampler.memory
        return max(self._base_client, client // block * block)

    # ------------------------------------------------------------ sound

    def _push(self, samples: NDArray[np.int16]) -> None:
        if len(samples):
            self._meter.count(self._client_at, samples)
            self._client_at += len(samples)
            self._append(self._resampler.push(samples.astype(np.float32)))

    def _append(self, samples: Samples) -> None:
        self._samples = np.concatenate([self._samples, samples])
        while (self._second + 1) * SAMPLE_RATE <= self._received:
            begin, end = self._second * SAMPLE_RATE, (self._second + 1) * SAMPLE_RATE
            fields = self._meter.measure(self._second, self._sound(begin, end))
            if end > self._written:
                self._add_own(MarkKind.QUALITY, end, _QUALITY, fields)
            self._second += 1

    def _sound(self, begin: int, end: int) -> Samples:
        assert self._samples_from <= begin and end <= self._received, (self._samples_from, begin, end, self._received)
        return self._samples[begin - self._samples_from : end - self._samples_from]

    def _forget(self) -> None:
        """Drops the sound that nothing will ask for any more."""
        wanted = (self._written - LOOK_BACK, self._heard - CONTEXT, self._second * SAMPLE_RATE)
        needed = min(*wanted, self._received)  # after a restart all that is wanted may lie ahead
        if needed > self._samples_from:
            self._samples = self._samples[needed - self._samples_from :]
            self._samples_from = needed

    # ------------------------------------------------------------ decisions

    def _advance(self) -> Generator[Window, Heard, None]:
        """Decides all frames whose sound is there, and leaves segments whose end is there."""
        while True:
            state = self._segmentation
            if self._heard < state.at and state.closing is None:  # after a restart: rebuild the memory, decide nothing
                if self._received < self._heard + FRAME:
                    return
                self._memory = (yield self._window()).memory
                self._heard += FRAME
            elif state.closing is not None:
                if self._received < state.closing:
                    return
                self._end_segment(state.closing)
                self._configure(state.closing)
                self._start_anew(leave(self._segmentation))
            else:
                if self._received < state.at + FRAME:
                    return
                self._configure(state.at + FRAME)
                heard = yield self._window()
                self._memory = heard.memory
                self._decide(heard.probability)

    def _window(self) -> Window:
        frame = self._sound(self._heard, self._heard + FRAME)
        if self._heard == self._segmentation.reset:
            context: Samples = np.zeros(CONTEXT, np.float32)
        else:
            context = self._sound(self._heard - CONTEXT, self._heard)
        return Window(np.concatenate([context, frame]), self._memory)

    def _decide(self, probability: float) -> None:
        before = self._segmentation
        after = decide(before, probability)
        self._segmentation = after
        self._heard = after.at
        if after.reset != before.reset:
            self._memory = FRESH
        if before.begin is None and after.begin is not None:
            assert after.begin >= self._written, (after, self._written)
            self._framed = after.begin
            self._add_own(MarkKind.SEGMENT_BEGIN, after.begin, _SEGMENT_BEGIN)

    def _start_anew(self, state: Segmentation) -> None:
        """The detector begins afresh at ``state.reset``."""
        self._segmentation = state
        self._heard, self._memory = state.reset, FRESH
        if state.begin is not None:
            self._framed = state.begin
            self._add_own(MarkKind.SEGMENT_BEGIN, state.begin, _SEGMENT_BEGIN)

    def _end_segment(self, end: int) -> None:
        self._frame_to(end)
        self._add_own(MarkKind.SEGMENT_END, end, _SEGMENT_END)

    def _frame_to(self, end: int) -> None:
        """Frames of the open segment up to ``end`` are to be written."""
        if end > self._framed:
            self._spans.append(Span(self._framed, end))
            self._framed = end

    # ------------------------------------------------------------ marks

    def _meet(self, mark: Mark) -> Generator[Window, Heard, None]:
        """A mark of the input: acts on it and passes it on, unless that was done before a restart."""
        moved = mark.moved(to_position(ClientPosition(mark.at), self.track.sample_rate))
        passed = moved.at < self._written or (moved.at == self._written and moved.identity in self._known)
        if mark.kind is MarkKind.CONFIGURE and moved.at >= self._adopted:
            self._settings.append(moved)
        if mark.kind in CLOSING_MARKS:
            self._append(self._resampler.flush())
            yield from self._advance()
            if not passed:
                self._interrupt(moved.at)
        if not passed:
            self._pending.append(Pending(moved, _FOREIGN))

    def _interrupt(self, at: int) -> None:
        assert at == self._received, (at, self._received)
        self._configure(at)
        state, end = interrupt(self._segmentation, at)
        if end is not None:
            self._end_segment(end)
        else:  # a segment that was to begin right here after a forced cut never does
            self._pending = [one for one in self._pending if one.rank != _SEGMENT_BEGIN or one.mark.at < at]
        self._start_anew(state)

    def _configure(self, end: int) -> None:
        """Brings the settings into force that were made before ``end``."""
        while self._settings and self._settings[0].at < end:
            silence = _trailing_silence(self._settings.popleft().fields)
            if silence is not None:
                self._segmentation = replace(self._segmentation, hang_over=hang_over_samples(silence))

    def _add_own(self, kind: MarkKind, at: int, rank: int, fields: dict[str, Any] | None = None) -> None:
        # Numbered by position: a stretch that is done again gives the same marks.
        self._pending.append(Pending(Mark(kind, at, WHO, at, fields or {}), rank))


def _trailing_silence(settings: Mapping[str, Any]) -> int | None:
    """The session's hang-over in ms, where these settings name one."""
    value = (settings.get("endpointing") or {}).get("trailing_silence_ms")
    return None if value is None else int(value)


def _samples(entry: Entry, start: int) -> NDArray[np.int16]:
    """Client samples of ``[start, entry.end)``, (N,) int16; zeros where no span covers them."""
    samples = np.zeros(max(0, entry.end - entry.begin), np.int16)
    for span in entry.spans:
        samples[span.begin - entry.begin : span.end - entry.begin] = np.frombuffer(entry.frames(span), "<i2")
    assert entry.begin <= start, f"sound from {start} to {entry.begin} is missing"  # the runtime's cursor sees gaps
    return samples[start - entry.begin :]
