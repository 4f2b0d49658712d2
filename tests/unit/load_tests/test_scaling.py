"""docs/scaling.md says what the script computes, and the script reckons as it says."""

from __future__ import annotations

import msgspec
import pytest
from load_tests.bench_growth import grown, growth_ladder, kb_a_track
from load_tests.scaling import (
    BUSY,
    MOST_SHARDS,
    PAGE,
    POLLING,
    TRACKS,
    blocks,
    filled_in,
    needs,
    profile_of,
    read_profile,
)
from load_tests.shards import CALL_S, Moment, balance, filling, on_masters, simulate
from tests.unit.load_tests.test_results import a_rung


def test_the_page_holds_the_tables_of_the_profile() -> None:
    page = PAGE.read_text("utf-8")
    assert filled_in(page, blocks(read_profile())) == page, "run `python -m load_tests.scaling --write`"


def test_a_table_without_its_place_is_told() -> None:
    with pytest.raises(AssertionError, match="no place for the table needs"):
        filled_in("<!-- profile -->\nold\n<!-- end -->", {"profile": "new", "needs": "new"})


@pytest.mark.parametrize("tracks", TRACKS)
def test_what_is_needed_suffices(tracks: int) -> None:
    profile = read_profile()
    found = needs(profile, tracks)
    for name, count in found.workers.items():
        assert count * BUSY * 1000 >= tracks * profile.cpu_ms[name]
    core = BUSY * 1000 * profile.redis_commands / profile.cpu_ms["redis"]
    assert found.commands + found.polls <= core
    assert found.polls <= POLLING * core
    assert found.shards_a_cell <= MOST_SHARDS
    if found.cells > 1:  # one cell less would look for claims too often
        assert found.polls * found.cells / (found.cells - 1) > POLLING * core


def test_a_profile_comes_from_a_rung() -> None:
    profile = profile_of(a_rung(10), "here", 1000)
    assert profile.redis_kb == pytest.approx(600)  # 6 MB more than idle, 10 tracks
    assert profile.cpu_ms["acoustic"] == 7.0
    assert "load" not in profile.cpu_ms


# ---------------------------------------------------------------- shards


def test_open_calls_stay_about_as_many_and_none_is_lost() -> None:
    moments = list(simulate(500, 10, 1800))
    assert all(400 < sum(moment.calls) < 600 for moment in moments)
    assert len(moments) == 61


def test_a_shard_that_is_added_fills_as_old_calls_end() -> None:
    filled = filling(2000, 10)
    assert filled[0] == 0.0
    shares = list(filled.values())
    assert shares == sorted(shares)
    # Of the calls that run after t seconds all began later with the chance 1 - exp(-t / 240).
    assert filled[4] == pytest.approx(1 - 2.718281828 ** (-240 / CALL_S), abs=0.15)
    assert filled[15] > 0.9


def test_more_calls_a_shard_are_more_even() -> None:
    assert 1.0 < balance(5000, 10) < balance(500, 10)


def test_the_fullest_and_the_newest_are_told_against_the_mean() -> None:
    assert (Moment(0, (10, 20, 0)).fullest, Moment(0, (10, 20, 0)).newest) == (2.0, 0.0)


def test_every_shard_lies_on_a_master_by_its_tags_checksum() -> None:
    assert sum(on_masters(28, 3)) == 28
    # CRC-16 of s00, by the table of the specification, whose check value is right: 0x31C3 for 123456789.
    assert on_masters(1, 16_384).index(1) == 12_958


# ---------------------------------------------------------------- growth


@pytest.mark.parametrize(("capacity", "ladder"), [(80, (2, 8, 40, 80, 160)), (4, (2, 4, 8)), (2, (2, 4))])
def test_shares_of_a_capacity_are_whole_calls_each_once(capacity: int, ladder: tuple[int, ...]) -> None:
    assert growth_ladder(capacity) == ladder


def test_what_costs_more_a_track_under_load_is_told() -> None:
    cheap = a_rung(10)
    dear = a_rung(20, cost=msgspec.structs.replace(cheap.cost, cpu_ms={**cheap.cost.cpu_ms, "decoder": 4.0}))
    assert grown([cheap, cheap]) == []
    assert grown([cheap, dear]) == ["decoder: 3.0 ms a track-second at 10 tracks, 4.0 at 20"]


def test_memory_is_shared_out_among_tracks_that_were_served() -> None:
    assert kb_a_track(a_rung(10), "redis data") == pytest.approx(600)
    assert kb_a_track(a_rung(10, refused={"at_capacity": 2}), "redis data") == pytest.approx(1000)
