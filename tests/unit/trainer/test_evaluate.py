"""The measuring of a set: by hand where it is counting, and the shipped bundle over clips of the repository."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stenoflow_trainer import data, evaluate, pictures
from stenoflow_trainer.__main__ import app
from stenoflow_trainer.calibration import Bin
from stenoflow_trainer.error_rates import pairs
from stenoflow_trainer.evaluate import Measured, evenly_spread
from stenoflow_trainer.report import provenance, write_report
from stenoflow_trainer.streaming import CHUNK_MS, Heard, HeardWord, first_pass
from stenoflow_trainer.word_delay import by_bundle

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = ROOT / "shared" / "models" / "en-small"
CLIPS = ROOT / "tests" / "clips"


def utterance(number: int, file: str = "", text: str = "a") -> data.Utterance:
    return data.Utterance(str(number), "clips", "", file, f"x-{number}", 1.0, text, "human", "clips")


def test_words_are_paired_where_both_texts_agree() -> None:
    assert pairs(["the", "cat", "sat", "down"], ["a", "the", "cat", "set", "down"]) == [(0, 1), (1, 2), (3, 4)]


def test_delays_are_of_right_words_and_wrong_words_are_judged() -> None:
    """`cat` ends at 0.5 s and stands at 0.96 s; `dog` is wrong: it has no delay, but a confidence."""
    measured = Measured("clips", "streaming")
    words = (HeardWord("cat", 0.9, 0.55, 0.96), HeardWord("dog", 0.4, 1.0, 1.12, utterance=1))
    measured.add("x", "cat sat", [0.5, 0.9], Heard("cat dog", words))
    assert measured.delays_ms == pytest.approx([460.0])
    assert measured.judged == [[(0.9, True)], [(0.4, False)]]
    row = measured.row()
    assert row["wer"] == 50.0
    assert row["shown_ms"] == {"median": 460, "p95": 460, "words": 1}
    assert row["emission_delay_ms"] == {"median": 50, "p95": 50, "words": 1}
    assert row["ece"] == pytest.approx((0.1 + 0.4) / 2)


def test_without_a_stream_or_an_alignment_nothing_is_made_up() -> None:
    measured = Measured("clips", "greedy")
    measured.add("x", "cat", [0.5], Heard("cat"))
    measured.add("x", "cat", [], Heard("cat"))
    assert measured.row().keys().isdisjoint({"shown_ms", "ece"})
    unaligned = Measured("clips", "streaming")
    unaligned.add("x", "cat", [], Heard("cat", (HeardWord("cat", 0.9, 0.5, 1.0),)))
    assert unaligned.delays_ms == [] and unaligned.judged == [[(0.9, True)]]


def test_a_limit_takes_from_the_whole_list() -> None:
    listed = [utterance(number) for number in range(10)]
    assert [one.id for one in evenly_spread(listed, 4)] == ["0", "2", "5", "7"]
    assert evenly_spread(listed, None) == listed == evenly_spread(listed, 11)


def test_pictures_are_well_formed_whatever_the_words_are_called() -> None:
    rows = [{"condition": "a < b & c", "wer": 50.0, "wer_interval": [40.0, 130.0]}]
    drawn = [
        pictures.error_rates("<WER>", rows),
        pictures.delays("delay", [(-80, 1), (0, 5), (80, 0), (4000, 1)], 40, 80),
        pictures.reliability("calibration", [Bin(0.9, 3, 0.95, 0.5)], 0.45),
    ]
    for svg in drawn:
        ElementTree.fromstring(svg)
    assert "1 words beyond" in drawn[1]


def test_clips_from_sound_to_report(tmp_path: Path) -> None:
    """Two clips under all conditions; delays cannot be shorter than the model's look-ahead, nor unbounded."""
    acoustic = evaluate.Acoustic(BUNDLE)
    clips = [
        utterance(1, "ls-1188-133604-0010.opus", _text("ls-1188-133604-0010.opus")),
        utterance(2, "an4-an406-fcaw-b.opus", _text("an4-an406-fcaw-b.opus")),
    ]
    listeners = [
        evaluate.whole(acoustic, {"greedy": acoustic.greedy}),
        evaluate.streamed({"streaming": first_pass(BUNDLE)}, telephone=True),
    ]
    alignment = by_bundle(lambda samples: acoustic.whole(data.fbank(samples)), acoustic.card["tokens"])

    def read(one: data.Utterance) -> data.Samples:
        return data.decode((CLIPS / one.file).read_bytes(), one.id)

    measured = evaluate.evaluate("clips", clips, read, listeners, alignment)
    greedy, streaming, telephone = (one.row() for one in measured)
    assert [row["condition"] for row in (greedy, streaming, telephone)] == [
        "greedy",
        "streaming",
        "streaming, telephone",
    ]
    assert all(row["words"] == sum(len(one.text.split()) for one in clips) for row in (greedy, streaming, telephone))
    assert streaming["wer"] < 70 and telephone["cer"] < 70, "not a measure: a guard against sound at a wrong rate"
    look_ahead = acoustic.card["acoustic"]["look_ahead_ms"]
    assert look_ahead - 100 <= streaming["shown_ms"]["median"] <= look_ahead + 3 * CHUNK_MS
    assert 0 <= streaming["ece"] <= 1

    for folder in (tmp_path / "one", tmp_path / "two"):
        write_report(folder, provenance(acoustic.card, alignment.name, 2), measured)
    page = (tmp_path / "one" / "report.html").read_bytes()
    assert page == (tmp_path / "two" / "report.html").read_bytes()
    assert (
        page.count(b"<svg") == 5 and b"<script" not in page and b"http" not in page.replace(b"http://www.w3.org", b"")
    )
    told = json.loads((tmp_path / "one" / "report.json").read_text())
    assert [row["set"] for row in told["rows"]] == ["clips"] * 3
    assert sum(words for _, words in told["rows"][1]["delay_histogram_ms"]) == streaming["shown_ms"]["words"]
    assert sum(one["words"] for one in told["rows"][1]["reliability"]) == sum(map(len, measured[1].judged))


def test_a_list_of_ones_own_does_not_move_the_sets_after_it(tmp_path: Path) -> None:
    """The sounds of a held set lie with its manifest, whatever was measured before it."""
    clip = CLIPS / "ls-1580-141083-0002.opus"
    for folder, list_, column in (("own", "calls.tsv", "path"), ("speech", "held_x.tsv", "file")):
        (tmp_path / folder).mkdir()
        shutil.copy(clip, tmp_path / folder / f"{folder}.opus")
        columns = f"{column}\ttext\tspeaker\tseconds\tid\tshard\tlabel\tsource"
        (tmp_path / folder / list_).write_text(f"{columns}\n{folder}.opus\tyes\tx-1\t3\t1\t\thuman\tx\n", "utf-8")
    arguments = ["evaluate", str(tmp_path / "own" / "calls.tsv"), "held_x", "--speech", str(tmp_path / "speech")]
    arguments += ["--bundle", str(BUNDLE), "--no-beam", "--no-streaming", "--out", str(tmp_path / "rows.json")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [row["set"] for row in json.loads((tmp_path / "rows.json").read_text())][1:] == ["held_x"]


def test_the_hash_outlives_the_figures_but_no_weight() -> None:
    card = json.loads((BUNDLE / "bundle.json").read_text())
    digest = provenance(card, "", None).sha256
    assert provenance(card | {"measured": []}, "", None).sha256 == digest
    assert provenance(card | {"decoder": card["decoder"] | {"lm_weight": 0.31}}, "", None).sha256 != digest


def _text(file: str) -> str:
    rows = (line.split("\t") for line in (CLIPS / "clips.tsv").read_text().splitlines())
    return next(row[4] for row in rows if row[0] == file)
