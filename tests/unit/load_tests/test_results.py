"""When a rung is held, and what the report says of it."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from load_tests import pictures
from load_tests.ladder import _result
from load_tests.report import as_html, read_results, write_report
from load_tests.results import Cost, Figures, Loss, Result, Rung, Words, broken, lag_by_second, lag_halves
from load_tests.scenario import Scenario


def a_rung(tracks: int = 2, **other: object) -> Rung:
    figures = Figures(100, 500.0, 900.0, 950.0, 1200.0)
    cost = Cost(
        100.0,
        {"gateway": 4.0, "features": 6.0, "acoustic": 7.0, "decoder": 3.0, "redis": 2.0, "load": 2.0},
        40.0,
        90_000.0,
        {"redis data": 8.0, "gateway": 90.0},
        {"redis data": 2.0, "gateway": 80.0},
    )
    made = Rung(
        tracks,
        tracks // 2,
        dict.fromkeys(("word", "first_partial", "final", "chunk"), figures),
        {"queue": figures, "acoustic": figures},
        tuple((second, 0.4, 0.9) for second in range(30)),
        (0.9, 0.9),
        0.8,
        Words(30.0, 25.0, 35.0, 200),
        Loss((), 2, 100),
        cost,
        {},
        0,
        Figures(100, 0.1, 1.0, 2.0, 3.0),
        (0.5, 1.5),
    )
    return msgspec.structs.replace(made, **other)


def word(p95: float) -> dict[str, Figures]:
    return dict.fromkeys(("word", "first_partial", "final", "chunk"), Figures(100, p95 / 2, p95, p95, p95))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"measures": word(1199)}, ""),
        ({"measures": word(1201)}, "p95 of word is 1201 ms, more than 1200"),
        ({"measures": dict.fromkeys(("word",), Figures())}, "no word came back"),
        ({"lag_halves_s": (0.5, 1.1)}, "lag grows"),
        ({"lag_halves_s": (1.1, 0.5)}, ""),
        ({"refused": {"at_capacity": 2}}, "refused: 2 with at_capacity"),
        ({"loss": Loss(("call 3: …",), 2, 100)}, "1 calls whose finals do not tile: call 3"),
        ({"loss": Loss((), 2, 100, lost=1)}, "1 lost, 0 doubled"),
        ({"loss": Loss((), 2, 100, doubled=1)}, "0 lost, 1 doubled"),
        ({"pause_s": 5.0}, ""),
    ],
)
def test_a_rung_is_held_while_it_keeps_all_promises(change: dict[str, object], why: str) -> None:
    found = broken(a_rung(**change), 900.0, disturbed=False)
    assert (len(found) == 1 and why in found[0]) if why else found == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"measures": word(5000), "lag_halves_s": (0.5, 1.5)}, ""),  # captions may wait for what was killed
        ({"pause_s": 3.1}, "captions stood still for 3.1 s, more than 3"),
        ({"loss": Loss((), 2, 100, lost=1)}, "1 lost"),
    ],
)
def test_what_is_disturbed_may_wait_but_not_long_and_loses_nothing(change: dict[str, object], why: str) -> None:
    found = broken(a_rung(**change), 900.0, disturbed=True)
    assert (len(found) == 1 and why in found[0]) if why else found == ()


@pytest.mark.parametrize(
    ("reasons", "capacity", "ended"),
    [
        ([(), (), ("late",)], 8, True),
        ([(), (), ()], 16, False),
        ([("late",), (), ()], 0, True),
        ([(), ("late",), ()], 2, True),  # a rung that holds above one that does not counts for nothing
    ],
)
def test_the_capacity_is_the_last_rung_below_all_that_broke(
    reasons: list[tuple[str, ...]], capacity: int, ended: bool
) -> None:
    rungs = [a_rung(tracks, broken=why) for tracks, why in zip((2, 8, 16), reasons, strict=True)]
    result = _result(Scenario(title="x", ladder=(2, 8, 16)), "Stenoflow", "2 cores", rungs)
    assert (result.capacity, result.ended) == (capacity, ended)


def test_figures_are_milliseconds_by_nearest_rank() -> None:
    found = Figures.of([value / 1000 for value in range(100, 0, -1)])
    assert found == Figures(100, 51.0, 96.0, 100.0, 100.0)
    assert Figures.of([]) == Figures()


def test_lag_is_told_by_second_and_by_halves_after_the_warm_up() -> None:
    samples = [(0.1, 9.0), (5.2, 1.0), (5.4, 3.0), (5.6, 2.0), (20.0, 4.0)]
    assert lag_by_second(samples) == ((0, 9.0, 9.0), (5, 2.0, 3.0), (20, 4.0, 4.0))
    assert lag_halves(samples, 2.0, 22.0) == (3.0, 4.0)
    assert lag_halves([], 2.0, 22.0) == (0.0, 0.0)


# ---------------------------------------------------------------- report


def a_result(**other: object) -> Result:
    rungs = (a_rung(2), a_rung(10), a_rung(20, broken=("p95 of word is <2000> ms",)))
    made = Result("A & B", "Stenoflow", "2 cores", 30.0, 5.0, False, 10, True, ((12.0, "50 % cut"),), rungs)
    return msgspec.structs.replace(made, **other)


def test_json_gives_back_what_was_measured(tmp_path: Path) -> None:
    results = [a_result(), a_result(system="sherpa-onnx")]
    write_report(tmp_path, results)
    assert read_results(tmp_path / "report.json") == results
    assert json.loads((tmp_path / "report.json").read_text())[0]["rungs"][0]["measures"]["word"]["p99"] == 950.0


def test_the_page_needs_nothing_but_itself_and_shows_every_rung() -> None:
    page = as_html([a_result(), a_result(system="sherpa-onnx")])
    assert not re.search(r"<script|<link|@import|url\(|src=|href=", page)
    assert "prefers-color-scheme: dark" in page
    assert "<strong>10 tracks</strong>" in page
    assert "&lt;2000&gt;" in page
    assert "A &amp; B" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    assert page.count("<svg") >= 2 * 9


def test_a_system_that_never_broke_has_at_least_that_capacity() -> None:
    assert "or more" in as_html([a_result(ended=False)])
    assert "or more" not in as_html([a_result()])


def test_what_was_not_measured_is_not_drawn_as_nought() -> None:
    silent = msgspec.structs.replace(a_rung(), measures=dict.fromkeys(("word",), Figures()), steps={}, lag=())
    page = as_html([a_result(rungs=(silent,))])
    assert "Chunks</text>" not in page
    assert "A caption's way" not in page


@pytest.mark.parametrize(("value", "top"), [(0.7, 0.8), (1.0, 1.0), (1.1, 2.0), (3.9, 4.0), (41, 50), (801, 1000)])
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert pictures.rounded_up(value) == pytest.approx(top)


def test_names_of_lines_do_not_lie_on_each_other_nor_leave_the_plot() -> None:
    near = {f"line {number}": [(0.0, 1.0), (1.0, number / 1000)] for number in range(5)}
    svg = pictures.lines("t", "x", "y", near)
    heights = sorted(float(y) for y in re.findall(rf'<text x="{pictures.RIGHT + 13:.1f}" y="([\d.]+)"', svg))
    assert len(heights) == 5
    assert all(below - above >= pictures.LINE_HEIGHT - 0.11 for above, below in itertools.pairwise(heights))
    assert heights[-1] <= pictures.BOTTOM + 5
