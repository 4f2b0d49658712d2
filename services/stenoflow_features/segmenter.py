"""Where speech begins and ends: a pure, causal function of the detector's probabilities.

Here lives every rule about segments and nothing else: no samples, no network, no entries. All positions are 16 kHz
samples. A state says what is decided up to ``at``; :func:`decide` takes the next frame's probability, :func:`leave`
goes past a segment's end once the sound is there, :func:`interrupt` closes at once (``finalize``, ``pause``, ``end``).

    silence --p >= OPEN--> open --quiet for the hang-over, or too long--> closing --sound reaches the end--> silence
                            ^                                                 |
                            +------------------- after a forced cut ----------+

The end of a segment is the first multiple of 40 ms from its begin that is not before the frame of the decision. So
the acoustic stage steps in whole 40 ms frames, and whoever writes frames as soon as their sound is there (never more
than one undecided detector frame ahead) has never written beyond an end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from stenoflow.base.positions import GRID, SAMPLE_RATE
from stenoflow_features.detector import FRAME

OPEN: Final = 0.5
"""Opens at this probability, Silero's own threshold: a false alarm costs half a second of compute and an empty final,
a miss costs words, and quieter onsets are what pre-roll is for."""

STAY: Final = 0.35
"""Frames from this probability on are not quiet: 0.15 of hysteresis, Silero's own, keeps soft syllables inside."""

PRE_ROLL: Final = SAMPLE_RATE * 240 // 1000
"""Sound before the opening frame that the segment takes in: unvoiced onsets score low."""

STEP: Final = SAMPLE_RATE * 40 // 1000
"""Segments last whole multiples of this, unless something interrupts them."""

CUT_FROM: Final = 16 * SAMPLE_RATE
"""From this length on a dip below a rising threshold ends the segment."""

LONGEST: Final = 20 * SAMPLE_RATE
"""No segment is longer: the threshold is 1 here, so any frame ends it."""

HANG_OVER_MS: Final = 480
"""Default of the session's ``endpointing.trailing_silence_ms``."""
HANG_OVER_MS_RANGE: Final = (240, 2000)

RESET_AFTER: Final = 8 * SAMPLE_RATE
"""In silence the detector starts anew this often: a multiple of both FRAME and GRID."""


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What is decided up to ``at``.

    Args:
        at: end of the last frame that was decided, begin of the next; counted in frames from ``reset``.
        reset: where the detector last started anew.
        floor: no segment may begin before it: the last segment's end, or an interruption.
        hang_over: quiet that ends a segment, samples.
        begin: of the open segment; None in silence.
        quiet: samples of quiet at the end of the open segment.
        closing: the open segment's end, once decided; not before ``at``.
        cut: whether that end is a forced cut, so that the next segment begins there.
    """

    at: int
    reset: int
    floor: int
    hang_over: int
    begin: int | None = None
    quiet: int = 0
    closing: int | None = None
    cut: bool = False

    @classmethod
    def fresh(cls, at: int, hang_over: int) -> Segmentation:
        """Silence, with the detector starting at ``at``."""
        return cls(at=at, reset=at, floor=at, hang_over=hang_over)

    @property
    def unclaimed(self) -> int:
        """In silence: no later segment can begin before this, whatever is said next."""
        return max(self.floor, (self.at - PRE_ROLL) // GRID * GRID)


def hang_over_samples(trailing_silence_ms: int) -> int:
    """The session's trailing silence as samples, brought into the range that is served."""
    low, high = HANG_OVER_MS_RANGE
    return min(max(trailing_silence_ms, low), high) * SAMPLE_RATE // 1000


def cut_threshold(length: int) -> float:
    """Probability under which a segment of this length (samples, from CUT_FROM on) is cut: STAY, rising to 1."""
    return STAY + (1 - STAY) * (length - CUT_FROM) / (LONGEST - CUT_FROM)


def decide(state: Segmentation, probability: float) -> Segmentation:
    """Takes the probability of the frame ``[state.at, state.at + FRAME)``.

    Must not be called while an end is decided but not yet left (``closing``).
    """
    assert state.closing is None, f"the segment ends at {state.closing}: leave it first"
    at = state.at + FRAME
    if state.begin is None:
        if probability >= OPEN:
            return replace(state, at=at, begin=state.unclaimed, quiet=0)
        if at - state.reset >= RESET_AFTER:
            return replace(state, at=at, reset=at)
        return replace(state, at=at)

    quiet = 0 if probability >= STAY else state.quiet + FRAME
    length = at - state.begin
    too_long = length >= CUT_FROM and (probability < cut_threshold(length) or length + FRAME > LONGEST)
    if quiet < state.hang_over and not too_long:
        return replace(state, at=at, quiet=quiet)
    end = state.begin + -(-length // STEP) * STEP
    return replace(state, at=at, quiet=quiet, closing=end, cut=quiet < state.hang_over)


def leave(state: Segmentation) -> Segmentation:
    """Goes past the decided end: silence, or after a forced cut the next segment, without pre-roll."""
    assert state.closing is not None, "no end is decided"
    after = Segmentation.fresh(state.closing, state.hang_over)
    return replace(after, begin=state.closing) if state.cut else after


def interrupt(state: Segmentation, at: int) -> tuple[Segmentation, int | None]:
    """Closes whatever is open at ``at``, on the 10 ms grid, at or after all that was decided or written.

    Returns:
        The state after it, and the end of the segment that was open, or None where there was none (or one without
        a single frame yet, after a forced cut).
    """
    assert at % GRID == 0, at
    end = at if state.begin is not None and at > state.begin else None
    return Segmentation.fresh(at, state.hang_over), end
