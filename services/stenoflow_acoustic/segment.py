"""An open segment: which frames make which step of the model, and which emissions belong to which sound.

Pure arithmetic, no model. A step is ``step_frames`` feature frames, counted from the segment's begin; it gives E
emissions. What the model says at step k is about the sound of step k less the look-ahead: the first
``look_ahead_steps`` of a segment say nothing, and as many steps of quiet follow its end. Some models hear more frames
at a step than they step by; those that follow it are heard again at the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stenoflow.bundle.card import Card, StatefulCard
from stenoflow_acoustic.engine import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A bundle's measures.

    Args:
        hop: positions per feature frame.
        bins: F.
        step_frames: feature frames per step.
        overlap_frames: feature frames that a step hears beyond its own.
        emissions_per_step: E.
        look_ahead_steps: how many steps the model's output lags.
        symbols: V.
        quiet: the flush frame, float32 [F].
    """

    hop: int
    bins: int
    step_frames: int
    overlap_frames: int
    emissions_per_step: int
    look_ahead_steps: int
    symbols: int
    quiet: Floats

    @classmethod
    def of(cls, card: Card) -> Geometry:
        """The measures of a card."""
        features, acoustic = card.features, card.acoustic
        assert isinstance(acoustic, StatefulCard), "a windowed bundle has other measures"
        return cls(
            features.hop,
            features.bins,
            acoustic.step_frames,
            acoustic.heard_frames - acoustic.step_frames,
            acoustic.emissions_per_step,
            acoustic.look_ahead_ms // (acoustic.step_frames * features.hop_ms),
            len(card.tokens.symbols),
            np.array(features.flush_frame, np.float32),
        )

    @property
    def emission_frames(self) -> int:
        """Feature frames per emission."""
        return self.step_frames // self.emissions_per_step

    @property
    def emission_hop(self) -> int:
        """Positions per emission."""
        return self.emission_frames * self.hop

    @property
    def frame_type(self) -> str:
        """Of a feature frame's numbers in the log."""
        return "<f2"

    def segment(self, begin: int) -> Segment:
        """A segment that begins at a position."""
        return Segment(self, begin)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one segment to run the model over.

    Args:
        features: float32 [steps * step_frames + overlap_frames, F].
        fresh: whether the segment begins with it, so that nothing of what was before may be left.
        first: first row of the model's output that is kept.
        last: first row after those that are kept.
        fade: so many rows after those fade into the first rows of the next piece (windows alone).
    """

    features: Floats
    fresh: bool
    first: int
    last: int
    fade: int = 0


@dataclass(slots=True, eq=False)
class Segment:
    """A segment that is open, or is being closed.

    Args:
        begin: position of its first frame.
        frames: feature frames that came.
        steps: steps that were handed out.
        emitted: emissions that are decided by them.
        replaced: frames that were not finite; the caller counts them and sets it to 0.
    """

    geometry: Geometry
    begin: int
    frames: int = 0
    steps: int = 0
    emitted: int = 0
    replaced: int = 0
    _pending: list[Floats] = field(default_factory=list)

    @property
    def heard_to(self) -> int:
        """Position up to which frames came."""
        return self.begin + self.frames * self.geometry.hop

    @property
    def emitted_to(self) -> int:
        """Position up to which emissions are decided."""
        return self.begin + self.emitted * self.geometry.emission_hop

    def add(self, frames: npt.NDArray[np.float16]) -> None:
        """Takes frames, float16 [n, F]; they follow those that came before.

        One that is not finite would poison the state for the rest of the segment, so it is heard as quiet.
        """
        rows = frames.astype(np.float32)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            self.replaced += int(bad.sum())
            rows[bad] = self.geometry.quiet
        self.frames += len(rows)
        self._pending.append(rows)

    def advance(self) -> list[Piece]:
        """All whole steps that are there, as one piece; none where there is none."""
        size, overlap = self.geometry.step_frames, self.geometry.overlap_frames
        whole = (self.frames - self.steps * size - overlap) // size
        if whole <= 0:
            return []
        rows = np.concatenate(self._pending)
        self._pending = [rows[whole * size :]]
        return [self._piece(rows[: whole * size + overlap], limit=None)]

    def close(self) -> list[Piece]:
        """The rest, and quiet until the last whole emission of the segment is decided; none where none is left.

        The segment is over after this.
        """
        geometry = self.geometry
        emissions = self.frames // geometry.emission_frames
        if emissions == self.emitted:
            return []
        steps = -(-emissions // geometry.emissions_per_step) + geometry.look_ahead_steps
        wanted = (steps - self.steps) * geometry.step_frames + geometry.overlap_frames
        rows = np.concatenate(self._pending)[:wanted]
        quiet = np.broadcast_to(geometry.quiet, (wanted - len(rows), geometry.bins))
        self._pending = []
        return [self._piece(np.concatenate([rows, quiet]), limit=emissions)]

    def _piece(self, features: Floats, limit: int | None) -> Piece:
        geometry = self.geometry
        steps = (len(features) - geometry.overlap_frames) // geometry.step_frames
        # Row 0 of this piece's output is emission `origin` of the segment; before 0 lies the look-ahead.
        origin = (self.steps - geometry.look_ahead_steps) * geometry.emissions_per_step
        rows = steps * geometry.emissions_per_step
        first = min(max(0, -origin), rows)
        last = rows if limit is None else min(rows, limit - origin)
        piece = Piece(features, self.steps == 0, first, max(first, last))
        self.steps += steps
        self.emitted += piece.last - piece.first
        return piece
