"""A load test on the real stack: sockets are cut and a worker is killed, and what came back is whole and counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from load_tests.ladder import BUNDLE, climb_all, main, stack_target
from load_tests.report import read_results
from load_tests.scenario import Fault, Scenario, Storm

from tests.pipeline.calls import stages


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_a_storm_and_a_kill_lose_nothing_and_are_reported(tmp_path: Path) -> None:
    scenario = Scenario(
        title="storm and kill",
        ladder=(4,),
        seconds=14,
        warm_up_s=2,
        compared=2,
        workers={"acoustic": 2},
        storms=(Storm(at_s=4),),
        faults=(Fault(at_s=8, stage="acoustic"),),
    )
    async with stack_target(scenario, BUNDLE) as target:
        result = await climb_all(scenario, target, "Stenoflow", stages(), [tmp_path])
        assert target.pid is not None
        assert target.pid("acoustic-1") is not None  # its supervisor started it again
    assert read_results(tmp_path / "report.json") == [result]
    (rung,) = result.rungs
    assert rung.refused == {}
    assert rung.resumes == rung.calls == 2
    assert rung.loss.untiled == ()
    assert rung.loss.compared == 2
    assert (rung.loss.lost, rung.loss.doubled) == (0, 0)
    assert rung.loss.words > 10
    assert rung.words is not None
    assert rung.measures["word"].count > 10
    assert all(rung.cost.cpu_ms[name] > 0 for name in ("load", "gateway", "features", "decoder", "redis"))
    assert rung.cost.redis_commands > 0
    assert rung.cost.memory_mb["redis data"] > 0
    assert result.events == ((4.0, "100 % cut"), (8.0, "acoustic killed"))


def test_what_cannot_be_played_is_told_and_nothing_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ladder", "nowhere"])
    assert main() == 2
    assert "there is no scenario nowhere" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["ladder", "kills", "--url", "ws://127.0.0.1:9/v1/stream"])
    assert main() == 2
    assert "leave --url out" in capsys.readouterr().err
