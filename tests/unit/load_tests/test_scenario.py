"""Scenarios are checked before anything starts, and what is wrong is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from load_tests.rung import plan
from load_tests.scenario import SCENARIOS, Scenario, ScenarioError, read_scenario

LEAST = 'title = "x"\nladder = [2]\n'


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_those_that_ship_can_be_played(path: Path) -> None:
    scenario = read_scenario(Path(path.stem))
    assert plan(scenario, scenario.ladder[0], "", 0.0)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("seconds = 5", "seconds: Input should be greater than or equal to 10"),
        ("second = 60", "second: there is no such setting; see load_tests/README.md"),
        ("ladder = 2", "no TOML"),
        ("warm_up_s = 28", "warm_up_s is 28: leave at least 5 s of the rung to measure"),
        ("[[storms]]\nat_s = 40", "at_s is 40, but the rung is over after 30 s"),
        ("[[storms]]\nat_s = 4\nshare = 2", "storms.0.share: Input should be less than or equal to 1"),
        ('[[faults]]\nat_s = 4\nstage = "redis"', "faults.0.stage: Input should be 'gateway'"),
        ('[[faults]]\nat_s = 4\nstage = "second_pass"', "there is no second_pass to kill"),
        ("[churn]\nshortest_s = 20\nlongest_s = 10", "longest_s is 10, less than shortest_s 20"),
        ('[[mix]]\nname = "a"\nshare = 0.5\nsample_rate = 8000', "the shares add up to 0.5, not to 1"),
        ('[[mix]]\nname = "a"\nshare = 1\nsample_rate = 9000', "9000 Hz is not taken: write one of 8000, 16000"),
    ],
)
def test_what_cannot_be_played_is_told_in_a_sentence(tmp_path: Path, more: str, sentence: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(LEAST + more)
    with pytest.raises(ScenarioError) as told:
        read_scenario(path)
    assert str(told.value).startswith("own.toml")
    assert sentence in str(told.value)


@pytest.mark.parametrize(
    ("ladder", "sentence"),
    [([3], "3 is no even number"), ([4, 2], "2 follows 4, but rungs must ascend"), ([0], "0 is no even number")],
)
def test_a_ladder_has_whole_calls_and_ascends(tmp_path: Path, ladder: list[int], sentence: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'title = "x"\nladder = {ladder}')
    with pytest.raises(ScenarioError, match=sentence):
        read_scenario(path)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ScenarioError, match="no scenario nowhere: give a TOML file, or one of capacity, churn"):
        read_scenario(Path("nowhere"))


def scenario(**more: object) -> Scenario:
    return Scenario.model_validate({"title": "x", "ladder": [40], "seconds": 60, **more})


def test_every_call_says_something_else_and_kinds_have_their_shares() -> None:
    calls = plan(scenario(), 40, "", 0.0)
    assert len({call.seed for call in calls}) == len(calls) == 20
    assert [call.kind for call in calls].count("telephone") == 10
    assert {call.sample_rate for call in calls} == {8000, 48_000}


def test_lines_that_churn_are_busy_but_for_their_pauses() -> None:
    calls = plan(scenario(churn={"shortest_s": 8, "longest_s": 20, "pause_s": 1}), 40, "", 100.0)
    assert len(calls) > 40
    assert all(call.begin >= 100 and call.begin + call.seconds <= 160.001 for call in calls)
    busy = sum(call.seconds for call in calls)
    assert busy > 0.8 * 20 * 60
    assert len({round(call.begin, 3) for call in calls}) == len(calls)  # not all at one time


def test_only_what_comes_after_the_warm_up_is_measured() -> None:
    calls = plan(scenario(warm_up_s=10, churn={"shortest_s": 8, "longest_s": 20}), 4, "", 0.0)
    assert all(call.since == pytest.approx(max(0.0, 10 - call.begin)) for call in calls)
    assert calls[-1].since == 0.0


@pytest.mark.parametrize(("share", "cut"), [(1.0, 20), (0.5, 10), (0.25, 5)])
def test_a_storm_cuts_its_share_of_open_calls_at_one_instant(share: float, cut: int) -> None:
    calls = plan(scenario(storms=[{"at_s": 20, "share": share}]), 40, "", 0.0)
    instants = [call.begin + at for call in calls for at in call.cuts]
    assert instants == pytest.approx([20.0] * len(instants))
    assert abs(len(instants) - cut) <= 1
