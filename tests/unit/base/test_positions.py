"""Client positions and 16 kHz positions meet on the 10 ms grid at every accepted rate."""

from __future__ import annotations

import pytest

from stenoflow.base.positions import CLIENT_RATES, GRID, ClientPosition, Position, to_client, to_position


@pytest.mark.parametrize("rate", CLIENT_RATES)
def test_the_grid_is_whole_at_every_rate(rate: int) -> None:
    assert rate % 100 == 0
    for ticks in (0, 1, 7, 6000, 360_000):
        client = ClientPosition(ticks * rate // 100)
        assert to_position(client, rate) == ticks * GRID
        assert to_client(Position(ticks * GRID), rate) == client


@pytest.mark.parametrize("rate", CLIENT_RATES)
def test_between_two_ticks_a_position_is_rounded_down(rate: int) -> None:
    assert to_position(ClientPosition(rate // 100 * 3 - 1), rate) == 2 * GRID
