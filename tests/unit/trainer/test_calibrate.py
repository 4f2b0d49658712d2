"""What ``stenoflow-train calibrate`` finds on a few clips, and where it writes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stenoflow.alignment.words import Calibration
from stenoflow.bundle.loading import load_bundle
from stenoflow_trainer.__main__ import app
from stenoflow_trainer.bundle import FOUND, write_card, write_found

ROOT = Path(__file__).resolve().parents[3]
BUNDLE = ROOT / "shared" / "models" / "en-small"
CLIPS = ROOT / "tests" / "clips"

COLUMNS = ("file", "speaker", "seconds", "text", "id", "shard", "label", "source")
LABELLED = ("ls-1284-1180-0023.opus", "ls-1320-122612-0006.opus", "an4-an406-fcaw-b.opus")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The shipped one, as if nothing had been found for it yet."""
    folder = Path(shutil.copytree(BUNDLE, tmp_path / "en-small"))
    card = json.loads((folder / "bundle.json").read_text())
    card["decoder"] = {name: value for name, value in card["decoder"].items() if name not in FOUND}
    (folder / "bundle.json").write_text(json.dumps(card))
    return folder


def calibrate(bundle: Path, speech: Path) -> str:
    done = CliRunner().invoke(app, ["calibrate", "--bundle", str(bundle), "--speech", str(speech)])
    return f"{done.output}{done.exception or ''}"


def test_priors_and_confidences_come_into_the_card(bundle: Path, tmp_path: Path) -> None:
    texts = {row.split("\t")[0]: row.split("\t") for row in (CLIPS / "clips.tsv").read_text().splitlines()}
    rows = [[file, texts[file][2], texts[file][3], texts[file][4], file, "", "human", "x"] for file in LABELLED]
    speech = tmp_path / "speech"
    speech.mkdir()
    for file in LABELLED:
        shutil.copy(CLIPS / file, speech)
    lines = [
        "\t".join(row) for row in (["file", "speaker", "seconds", "text", "id", "shard", "label", "source"], *rows)
    ]
    (speech / "train.tsv").write_text("\n".join(lines) + "\n")
    told = calibrate(bundle, speech)
    assert "words of dev" in told, told
    card = load_bundle(bundle).card.decoder
    assert len(card.log_priors) == 29 and max(card.log_priors) == card.log_priors[-1] < 0, "blank is what is said most"
    assert card.confidence is not None and card.confidence.surroundings != 0.0


def test_a_bundle_stays_as_it_was_where_nothing_can_be_found(bundle: Path, tmp_path: Path) -> None:
    before = (bundle / "bundle.json").read_bytes()
    assert "words of dev" not in calibrate(bundle, tmp_path / "nowhere")
    assert (bundle / "bundle.json").read_bytes() == before


def test_export_keeps_what_was_found_only_while_it_is_true(bundle: Path) -> None:
    """Priors are the acoustic model's; how often words are right depends on all that is searched."""
    write_found(bundle, [-1.0] * 29, Calibration(0.9, -0.2, 0.4))
    before = json.loads((bundle / "bundle.json").read_text())["decoder"]
    weights = {name: value for name, value in before.items() if name not in (*FOUND, "language_model", "lexicon")}

    def exported(**decoder: float) -> dict[str, object]:
        write_card(
            bundle,
            version="2026.11.27",
            flush_frame=np.zeros(80, np.float32),
            look_ahead=10,
            chunk=1,
            precision="int8",
            decoder=weights | decoder,
            measured=[],
        )
        card: dict[str, object] = json.loads((bundle / "bundle.json").read_text())["decoder"]
        return card

    assert exported() == before
    assert exported(lm_weight=0.1).keys() == before.keys() - {"confidence"}
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert exported(lm_weight=0.1).keys() == before.keys() - set(FOUND)
