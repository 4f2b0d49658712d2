"""Texts by a model: people's stay, what looks invented is left out, and the list that is written can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from stenoflow_second_pass.models.base import Reading
from stenoflow_trainer import data
from stenoflow_trainer.label import label


class Scripted:
    """Reads by the length of the sound, in tenths of a second."""

    name, batch, summary = "scripted", 1, "none"

    def __init__(self, texts: dict[int, Reading]) -> None:
        self._texts = texts

    def read(self, utterances: Sequence[data.Samples], prompts: Sequence[str]) -> list[Reading]:
        return [self._texts[round(10 * len(samples) / data.SAMPLE_RATE)] for samples in utterances]


def test_what_people_wrote_stays_and_what_looks_invented_is_left_out(tmp_path: Path) -> None:
    rows = ["path\ttext\tspeaker"]
    for tenths, text in ((10, "As said."), (20, ""), (30, ""), (40, ""), (310, "")):
        soundfile.write(tmp_path / f"{tenths}.wav", np.zeros(1600 * tenths, np.float32), 16_000)
        rows.append(f"{tenths}.wav\t{text}\tanna")
    (tmp_path / "calls.tsv").write_text("\n".join(rows) + "\n")
    model = Scripted(
        {
            20: Reading("Two refunds, please!", -0.2, 5, True),
            30: Reading("and and and and and and and and", -0.1, 8, True),
            40: Reading("A guess.", -3.0, 3, True),
        }
    )
    shards = data.Shards(tmp_path)
    counts = label(data.read_own_manifest(tmp_path / "calls.tsv"), shards.read, model, tmp_path / "labelled.tsv")
    assert counts == {"human": 1, "model": 1, "repeated": 1, "unsure": 1, "too long": 1}
    again = data.read_own_manifest(tmp_path / "labelled.tsv")
    assert [(one.file, one.text, one.speaker, one.seconds) for one in again] == [
        ("10.wav", "as said", "anna", 1.0),
        ("20.wav", "two refunds please", "anna", 2.0),
    ]
