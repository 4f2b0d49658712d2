"""Where one window ends and the next goes on: a letter that they put at different places comes once."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from stenoflow_acoustic.engine import Floats
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.segment import Piece
from stenoflow_acoustic.window_batching import WindowBatcher
from stenoflow_acoustic.windows import faded

ROWS, MIDDLE, FADE = 24, 8, 8
"""Emissions of a window: 8 before its middle, 8 of it, 8 after it."""


class Says:
    """A model that says one letter a window, at the row that the window's first number names; none where it is -1."""

    device, precision = "cpu", "float32"

    def emissions(self, windows: Floats) -> Floats:
        probabilities = np.tile(np.float32([0.95, 0.05]), (len(windows), ROWS, 1))
        for window, rows in zip(windows, probabilities, strict=True):
            if (at := int(window[0, 0])) >= 0:
                rows[at] = rows[at, ::-1]
        return np.log(probabilities)


def window(at: int, *, fresh: bool = False, fade: int = FADE) -> Piece:
    return Piece(np.full((ROWS, 1), at, np.float32), fresh, MIDDLE, 2 * MIDDLE, fade)


def letters(rows: Floats) -> int:
    """How many letters the best path has."""
    best = rows.argmax(-1)
    return int(np.sum((best == 1) & (np.r_[0, best[:-1]] != 1)))


def batcher() -> WindowBatcher:
    return WindowBatcher(Says(), AcousticMetrics(CollectorRegistry()))


@pytest.mark.parametrize(
    ("first", "second", "cut_hard"),
    [
        (2 * MIDDLE - 1, MIDDLE + 1, 2),  # the next window puts it two rows later: behind the seam too
        (
            2 * MIDDLE + 1,
            MIDDLE - 1,
            0,
        ),  # the next window puts it two rows earlier: before the seam, where it is not heard
    ],
)
def test_a_letter_at_a_seam_comes_once(first: int, second: int, cut_hard: int) -> None:
    def said(fade: int) -> Floats:
        runner = batcher()
        slot = runner.allocate()
        pieces = [window(first, fresh=True, fade=fade), window(second, fade=fade)]
        return np.concatenate([np.concatenate(runner.run([(slot, [piece])])[0]) for piece in pieces])

    assert letters(said(0)) == cut_hard
    assert letters(said(FADE)) == 1
    np.testing.assert_allclose(np.exp(said(FADE)).sum(-1), 1.0, rtol=1e-5)


def test_a_segment_begins_with_nothing_of_what_was_before() -> None:
    runner = batcher()
    one, other = runner.allocate(), runner.allocate()
    runner.run([(one, [window(2 * MIDDLE, fresh=True)])])
    quiet = np.concatenate(runner.run([(other, [window(-1, fresh=True)])])[0])
    again = np.concatenate(runner.run([(one, [window(-1, fresh=True)])])[0])
    np.testing.assert_array_equal(again, quiet)
    runner.free(one)
    after = np.concatenate(runner.run([(runner.allocate(), [window(-1)])])[0])
    np.testing.assert_array_equal(after, quiet)


def test_a_short_last_window_takes_what_there_is() -> None:
    before, rows = np.log(np.full((5, 2), 0.5, np.float32)), np.log(np.full((3, 2), 0.5, np.float32))
    np.testing.assert_allclose(faded(before, rows), rows, rtol=1e-6)
    np.testing.assert_array_equal(faded(before[:0], rows), rows)
