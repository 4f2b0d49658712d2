"""The endpoint rules as a table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stenoflow_decoder.endpoint import PIECE_PAUSE, Progress, Reason, Rules, may_end, silence_left

S = 16_000
MS = 16


@pytest.mark.parametrize(
    ("elapsed", "silence", "has_words", "over_after", "left", "reason"),
    [
        # without words: 2 s, of which the last 300 ms are silent
        (0, 0, False, None, 2 * S, Reason.WORDLESS),
        (1 * S, 1 * S, False, None, 1 * S, Reason.WORDLESS),
        (2 * S, 2 * S, False, None, 0, Reason.WORDLESS),
        (2 * S, 100 * MS, False, None, 200 * MS, Reason.WORDLESS),
        # with words: 3 s of blanks, whatever silence the session asks the detector for
        (5 * S, 0, True, None, 3 * S, Reason.SILENCE),
        (5 * S, 3 * S, True, 0, 0, Reason.SILENCE),
        # length: a pause between words from 16 s on, any gap between words from 18 s, anything at 20 s
        (14 * S, 1 * S, True, 0, 2 * S, Reason.SILENCE),
        (15 * S, 200 * MS, True, 0, 1 * S, Reason.LENGTH),
        (16 * S, 200 * MS, True, 0, 0, Reason.LENGTH),
        (16 * S, 0, True, 0, 120 * MS, Reason.LENGTH),
        (16 * S, 200 * MS, True, None, 2800 * MS, Reason.SILENCE),
        (18 * S, 0, True, 0, 0, Reason.LENGTH),
        (19 * S + 900 * MS, 0, True, None, 100 * MS, Reason.LENGTH),
        (20 * S, 0, True, None, 0, Reason.LENGTH),
        (20 * S, 0, False, None, 0, Reason.LENGTH),
        # pieces of words: over after 300 ms without one, wherever the rule looks for a pause or a gap
        (15 * S, 200 * MS, True, 300 * MS, 1 * S, Reason.LENGTH),
        (16 * S, 200 * MS, True, 300 * MS, 100 * MS, Reason.LENGTH),
        (18 * S, 200 * MS, True, 300 * MS, 100 * MS, Reason.LENGTH),
        (18 * S, 300 * MS, True, 300 * MS, 0, Reason.LENGTH),
    ],
)
def test_silence_left(
    elapsed: int, silence: int, has_words: bool, over_after: int | None, left: int, reason: Reason
) -> None:
    assert silence_left(Progress(elapsed, silence, has_words, over_after), Rules()) == (left, reason)


@pytest.mark.parametrize("rules", [Rules(), Rules(8_000, 4_000, 64_000), Rules(96_000, 96_000, 96_000)])
def test_what_may_end_is_exactly_what_some_hypothesis_ends(rules: Rules) -> None:
    elapsed, silence = (
        each.ravel() for each in np.meshgrid(np.arange(0, 21 * S, 960), np.arange(0, 4 * S, 960), indexing="ij")
    )
    ends = [
        any(
            silence_left(Progress(since, quiet, *hypothesis), rules)[0] <= 0
            for hypothesis in itertools.product((False, True), (None, 0, PIECE_PAUSE))
        )
        for since, quiet in zip(elapsed.tolist(), silence.tolist(), strict=True)
    ]
    assert may_end(elapsed, silence, rules).tolist() == ends
    assert 0 < sum(ends) < len(ends)
