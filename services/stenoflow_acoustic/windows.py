"""Models that were made for whole utterances, moved over a segment in overlapping windows.

Window k keeps the emissions of ``[k * step, (k + 1) * step)`` of the segment and hears ``left`` before and ``right``
after that, as far as the segment reaches. Which window says what follows from the segment's begin alone, so chunks
change nothing; windows of equal length share a batch without any padding, so neither does company.

Two windows put a letter some hundredths of a second apart, and where one is cut hard to the next it comes twice or not
at all. So what a window said of the first 160 ms after its middle fades out as the next one fades in; nothing waits for
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from stenoflow.base.errors import ConfigError
from stenoflow.bundle.card import Card, WindowedCard
from stenoflow_acoustic.engine import Floats
from stenoflow_acoustic.segment import Piece

FULL_SCALE = 32_768.0
FADE_MS = 160
"""Over so much of a window's middle the one before it fades out: two windows differ by less in where a letter is. Of
models that hear far to both sides, 80 does nearly as well."""


class WindowModel(Protocol):
    """A warm model that hears windows. Not for two threads at once."""

    device: str
    precision: str

    def emissions(self, windows: Floats) -> Floats:
        """What it says of some windows, each by itself.

        Args:
            windows: float32 [B, T, F], feature frames; of a waveform, F samples from -1 to 1 a frame.

        Returns:
            natural log-probabilities, float32 [B, U, V].
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class WindowGeometry:
    """A bundle's measures, with one of its presets. All but ``hop`` in feature frames.

    Args:
        hop: positions per feature frame.
        bins: F.
        left: heard before the kept middle.
        step: the kept middle.
        right: heard after it.
        emission_frames: per emission.
        overhang: heard beyond the last emission.
        symbols: V.
        waveform: frames are samples, 16-bit.
        quiet: a frame of silence, float32 [F].
    """

    hop: int
    bins: int
    left: int
    step: int
    right: int
    emission_frames: int
    overhang: int
    symbols: int
    waveform: bool
    quiet: Floats

    @classmethod
    def of(cls, card: Card, preset: str | None = None) -> WindowGeometry:
        """The measures of a card.

        Raises:
            ConfigError: the card has no such preset.
        """
        features, acoustic = card.features, card.acoustic
        assert isinstance(acoustic, WindowedCard), "a stateful bundle has other measures"
        presets = {str(name): each for name, each in acoustic.presets.items()}
        chosen = presets.get(preset or acoustic.preset)
        if chosen is None:
            raise ConfigError(
                "preset_unknown", f"the bundle {card.name} has no preset {preset!r}; it has: {', '.join(presets)}"
            )
        return cls(
            features.hop,
            features.bins,
            chosen.left_ms // features.hop_ms,
            chosen.step_ms // features.hop_ms,
            chosen.right_ms // features.hop_ms,
            acoustic.emission_ms // features.hop_ms,
            acoustic.overhang_frames,
            len(card.tokens.symbols),
            features.kind == "waveform",
            np.array(features.flush_frame, np.float32),
        )

    @property
    def emission_hop(self) -> int:
        """Positions per emission."""
        return self.emission_frames * self.hop

    @property
    def whole(self) -> int:
        """Feature frames of a window that nothing cuts short."""
        return self.left + self.step + self.right

    @property
    def wait_ms(self) -> int:
        """How long after a sound it is known what it was, at the latest, but for the model's own time."""
        return (self.step + self.right) * self.hop // 16

    @property
    def fade(self) -> int:
        """Emissions over which a window fades into the next; it hears at least half of its right side after them."""
        return min(FADE_MS * 16 // self.emission_hop, self.right // self.emission_frames // 2)

    @property
    def frame_type(self) -> str:
        """Of a feature frame's numbers in the log."""
        return "<i2" if self.waveform else "<f2"

    def segment(self, begin: int) -> WindowedSegment:
        """A segment that begins at a position."""
        return WindowedSegment(self, begin)


@dataclass(slots=True, eq=False)
class WindowedSegment:
    """A segment that is open, or is being closed.

    Args:
        begin: position of its first frame.
        frames: feature frames that came.
        steps: windows that were handed out.
        emitted: emissions that are decided by them.
        replaced: frames that were not finite; the caller counts them and sets it to 0.
    """

    geometry: WindowGeometry
    begin: int
    frames: int = 0
    steps: int = 0
    emitted: int = 0
    replaced: int = 0
    _pending: list[Floats] = field(default_factory=list)
    _pending_from: int = 0

    @property
    def heard_to(self) -> int:
        """Position up to which frames came."""
        return self.begin + self.frames * self.geometry.hop

    @property
    def emitted_to(self) -> int:
        """Position up to which emissions are decided."""
        return self.begin + self.emitted * self.geometry.emission_hop

    def add(self, frames: np.ndarray) -> None:
        """Takes feature frames [n, F], of :attr:`WindowGeometry.frame_type`."""
        rows: Floats = frames.astype(np.float32)
        if self.geometry.waveform:
            rows /= FULL_SCALE
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            self.replaced += int(bad.sum())
            rows[bad] = self.geometry.quiet
        self.frames += len(rows)
        self._pending.append(rows)

    def advance(self) -> list[Piece]:
        """The windows whose sound is there."""
        geometry, pieces = self.geometry, []
        while self.frames >= (self.steps + 1) * geometry.step + geometry.right:
            pieces.append(self._window(self.steps * geometry.step + geometry.step + geometry.right, limit=None))
        return pieces

    def close(self) -> list[Piece]:
        """The windows that the segment's end cuts short, until its last whole emission is decided; it is over then."""
        geometry, pieces = self.geometry, []
        emissions = self.frames // geometry.emission_frames
        while self.emitted < emissions:
            end = min(self.frames, (self.steps + 1) * geometry.step + geometry.right)
            pieces.append(self._window(end, limit=emissions))
        self._pending = []
        return pieces

    def _window(self, end: int, limit: int | None) -> Piece:
        geometry = self.geometry
        kept_from = self.steps * geometry.step
        begin = max(0, kept_from - geometry.left)
        rows = np.concatenate(self._pending)
        heard = rows[begin - self._pending_from : end - self._pending_from]
        if end < kept_from + geometry.step + geometry.right:
            # Where the sound ends no more comes, so quiet stands for what the last emission still hears.
            heard = np.concatenate([heard, np.broadcast_to(geometry.quiet, (geometry.overhang, geometry.bins))])
        first = (kept_from - begin) // geometry.emission_frames
        kept = geometry.step // geometry.emission_frames
        if limit is not None:
            kept = min(kept, limit - self.emitted)
        fresh = self.steps == 0
        self.steps += 1
        self.emitted += kept
        next_from = max(0, self.steps * geometry.step - geometry.left)
        self._pending = [rows[max(0, next_from - self._pending_from) :]]
        self._pending_from = max(self._pending_from, next_from)
        return Piece(np.ascontiguousarray(heard), fresh, first, first + kept, geometry.fade)


def windows_of(pieces: Sequence[Piece]) -> Floats:
    """Pieces of one length as a batch, float32 [B, T, F]."""
    return np.stack([piece.features for piece in pieces])


def faded(before: Floats, rows: Floats) -> Floats:
    """The rows of a window, its first ones mixed with what the window before said of the same sound.

    Args:
        before: natural-log probabilities [n, V], what follows that window's middle.
        rows: of this window's middle, [U, V].
    """
    count = min(len(before), len(rows))
    if not count:
        return rows
    share = (np.arange(1, count + 1, dtype=np.float32) / np.float32(count + 1))[:, None]
    mixed = np.logaddexp(before[:count] + np.log1p(-share), rows[:count] + np.log(share))
    return np.concatenate([mixed, rows[count:]])
