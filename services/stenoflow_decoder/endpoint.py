"""When an utterance ends without a mark that ends it: three rules over two counters, in 16 kHz samples.

The rules are those of Kaldi's and sherpa-onnx's endpointing: silence without words, silence after words, length.

The usual end is the segment's: the session's trailing silence *is* the detector's hang-over (DESIGN 6). The rules
here are for what the detector takes for speech and the model does not (noise, music), for long silence, and for
people who never pause. They see no clock; the same sound gives the same ends, whatever the chunking.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE

WORDLESS_PAUSE = 3 * SAMPLE_RATE // 10
"""Nothing may just be beginning when such a stretch is cut: the last 300 ms must be silent."""

WORD_PAUSE = 12 * SAMPLE_RATE // 100
"""A pause between two words that is good enough for a cut as the utterance gets long."""

PIECE_PAUSE = 3 * SAMPLE_RATE // 10
"""Of word pieces none says that a word is over, and in a word they may lie 250 ms apart: so long without one does."""

PAUSE_SOUGHT = 4 * SAMPLE_RATE
GAP_SOUGHT = 2 * SAMPLE_RATE
"""So long before the utterance is too long a pause, and then any gap between words, ends it."""


class Reason(StrEnum):
    """What ended an utterance."""

    MARK = "mark"
    """No rule of this module: the segment ended, or the client or the track's end closed it."""

    WORDLESS = "wordless"
    SILENCE = "silence"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Rules:
    """The session's endpointing.

    Args:
        without_words: samples of silence after which a stretch without words is final, so that ``committed`` moves
            (DESIGN 6).
        after_words: samples of blanks that end an utterance inside a segment. They are weaker evidence of silence than
            the detector: the model is also silent where it understands nothing. After 800 ms of them one utterance in
            three was cut in its middle, and the second pass had halves to read (dev: 18.2 % WER against 15.7 after
            4 s).
        max_utterance: samples; an utterance is never longer.
    """

    without_words: int = 2 * SAMPLE_RATE
    after_words: int = 3 * SAMPLE_RATE
    max_utterance: int = 20 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Progress:
    """What the open utterance has come to.

    Args:
        elapsed: samples since it began.
        silence: samples since the last frame whose likeliest token was a letter (or since it began).
        has_words: whether the best hypothesis holds a letter.
        word_over_after: so many samples of silence say that the best hypothesis' last word is over: 0 where it ends
            with the separator, ``PIECE_PAUSE`` in pieces; None: nothing says it.
    """

    elapsed: int
    silence: int
    has_words: bool
    word_over_after: int | None


def silence_left(progress: Progress, rules: Rules) -> tuple[int, Reason]:
    """How many more samples of silence would end the utterance, and by which rule; it ends now where none are left."""
    left = rules.max_utterance - progress.elapsed
    reason = Reason.LENGTH
    if progress.has_words:
        needed = rules.after_words - progress.silence
        if needed < left:
            left, reason = needed, Reason.SILENCE
    else:
        needed = max(rules.without_words - progress.elapsed, WORDLESS_PAUSE - progress.silence)
        if needed < left:
            left, reason = needed, Reason.WORDLESS
    if (over_after := progress.word_over_after) is not None:
        pause = max(WORD_PAUSE, over_after)
        at_pause = max(rules.max_utterance - PAUSE_SOUGHT - progress.elapsed, pause - progress.silence)
        at_gap = max(rules.max_utterance - GAP_SOUGHT - progress.elapsed, over_after - progress.silence)
        if min(at_pause, at_gap) < left:
            left, reason = min(at_pause, at_gap), Reason.LENGTH
    return left, reason


def may_end(elapsed: NDArray[np.int64], silence: NDArray[np.int64], rules: Rules) -> NDArray[np.bool_]:
    """Where :func:`silence_left` may say that the utterance ends now, whatever the best hypothesis is.

    Args:
        elapsed: int64 (N,), samples since the utterance began, as in :class:`Progress`.
        silence: int64 (N,), samples since the last letter.
        rules: the session's.
    """
    wordless = (elapsed >= rules.without_words) & (silence >= WORDLESS_PAUSE)
    at_pause = (elapsed >= rules.max_utterance - PAUSE_SOUGHT) & (silence >= WORD_PAUSE)
    at_gap = elapsed >= rules.max_utterance - GAP_SOUGHT
    ended: NDArray[np.bool_] = wordless | (silence >= rules.after_words) | at_pause | at_gap
    return ended
