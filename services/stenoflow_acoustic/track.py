"""One track: what of the model's work its news ask for, and what the output entry will cover.

No model here: positions, spans and marks of the output follow from the input alone; the stage fills in the numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import CLOSING_MARKS, Entry, Mark, MarkKind, Span
from stenoflow_acoustic.segment import Geometry, Piece, Segment
from stenoflow_acoustic.windows import WindowedSegment, WindowGeometry


@dataclass(slots=True)
class Outline:
    """An output entry without its numbers.

    Args:
        begin: first position covered.
        end: first position not covered.
        spans: where emissions are; one for each stretch of pieces that follow each other and keep rows.
        pieces: the model's work, in order.
        marks: in order.
        replaced: feature frames that were not finite.
    """

    begin: int
    end: int
    spans: list[Span] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    replaced: int = 0


class AcousticTrack:
    """A track's place in its input and output.

    Args:
        key: whose.
        slot: of the model's state.
        position: where the input begins; what is made is made again from here.
        geometry: the bundle's.
    """

    def __init__(self, key: TrackKey, slot: int, position: int, geometry: Geometry | WindowGeometry) -> None:
        self.key = key
        self.slot = slot
        self.position = position
        self.written = position
        self.segment: Segment | WindowedSegment | None = None
        self._geometry = geometry
        # Marks whose sound is not decided yet; they pass once the emissions have reached them.
        self._held: deque[Mark] = deque()

    @property
    def restart(self) -> int:
        """R: a running normaliser, or the grid of windows, makes it the start of the open segment (DESIGN 2.4)."""
        return self.segment.begin if self.segment is not None else self.position

    def take(self, entries: Sequence[Entry]) -> Outline:
        """Takes news and says what they make; the caller runs ``pieces`` on this track's slot, in order."""
        outline = Outline(self.written, self.written)
        for entry in entries:
            for mark in entry.marks:
                match mark.kind:
                    case (
                        MarkKind.SEGMENT_BEGIN
                        | MarkKind.SEGMENT_END
                        | MarkKind.FINALIZE
                        | MarkKind.PAUSE
                        | MarkKind.END
                    ):
                        # What is open ends here; a segment opens with its first frame, so nothing to do for a begin.
                        self._hear(entry, mark.at, outline)
                        self._close(outline)
                    case MarkKind.CONFIGURE | MarkKind.QUALITY:
                        pass
                self._held.append(mark)
            self._hear(entry, entry.end, outline)
        if self.segment is not None:
            self._add(outline, self.segment, self.segment.advance())
        outline.end = self.segment.emitted_to if self.segment is not None else self.position
        while self._held and self._held[0].at <= outline.end:
            outline.marks.append(self._held.popleft())
        self.written = outline.end
        return outline

    def _hear(self, entry: Entry, to: int, outline: Outline) -> None:
        """Takes the entry's frames that end at or before ``to``."""
        geometry = self._geometry
        for span in entry.spans:
            begin, end = max(span.begin, self.position), min(span.end, to)
            if begin >= end:
                continue
            assert entry.hop == geometry.hop and entry.frame_bytes == 2 * geometry.bins, (  # both types have two bytes
                f"features of {self.key} have {entry.frame_bytes} bytes every {entry.hop} samples; the bundle wants "
                f"{2 * geometry.bins} every {geometry.hop}: the features worker runs another bundle"
            )
            if self.segment is None or self.segment.heard_to != begin:
                # Sound without a mark, or after a hole: no word of it is left out.
                self._close(outline)
                self.segment = geometry.segment(begin)
            frames = np.frombuffer(entry.frames(span), geometry.frame_type).reshape(-1, geometry.bins)
            first, last = (begin - span.begin) // geometry.hop, (end - span.begin) // geometry.hop
            self.segment.add(frames[first:last])
        if self.segment is not None and self.segment.heard_to < to:
            self._close(outline)
        self.position = max(self.position, to)

    def _close(self, outline: Outline) -> None:
        if self.segment is not None:
            self._add(outline, self.segment, self.segment.close())
            self.segment = None

    def _add(self, outline: Outline, segment: Segment | WindowedSegment, pieces: Sequence[Piece]) -> None:
        outline.replaced += segment.replaced
        segment.replaced = 0
        outline.pieces += pieces
        kept = sum(piece.last - piece.first for piece in pieces)
        if kept:
            end = segment.emitted_to
            outline.spans.append(Span(end - kept * self._geometry.emission_hop, end))


assert {MarkKind.FINALIZE, MarkKind.PAUSE, MarkKind.END} == CLOSING_MARKS, "AcousticTrack.take names them"
