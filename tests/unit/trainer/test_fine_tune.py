"""Fine-tuning of our student and of a model of transformers, by the command, on clips that lie in the repository."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from tests.unit.tiny_models import write_wav2vec2_ctc
from tests.unit.trainer import small
from typer.testing import CliRunner

from stenoflow.base.errors import ConfigError
from stenoflow.bundle.loading import load_bundle
from stenoflow_trainer import ctc_models, data
from stenoflow_trainer.__main__ import app
from stenoflow_trainer.bundle import based_on
from stenoflow_trainer.checkpoint import stored_student
from stenoflow_trainer.ctc_models import StudentCtc, TransformersCtc
from stenoflow_trainer.fine_tune import Plan, fine_tune, split_own

ROOT = Path(__file__).resolve().parents[3]
CLIPS = ROOT / "tests" / "clips"
WEIGHTS = ROOT / "services" / "stenoflow_trainer" / "checkpoints" / "en-small.safetensors"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of six short clips of several speakers, as a user would write it."""
    with (CLIPS / "clips.tsv").open(encoding="utf-8", newline="") as lines:
        rows = sorted(csv.DictReader(lines, delimiter="\t"), key=lambda row: float(row["seconds"]))[:6]
    path = tmp_path_factory.mktemp("calls") / "calls.tsv"
    made = [f"{CLIPS / row['file']}\t{row['text'].capitalize()}.\t{row['speaker']}" for row in rows]
    path.write_text("\n".join(["path\ttext\tspeaker", *made]) + "\n", "utf-8")
    return path


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.timeout(300)  # trains; on a full machine it takes minutes
def test_our_student_becomes_a_bundle_that_loads(calls: Path, tmp_path: Path) -> None:
    out = tmp_path / "our-calls"
    said = run("fine-tune", calls, "--out", out, "--base", ROOT / "shared/models/en-small", "--epochs", "2",
               "--batch-seconds", "6", "--rate", "1e-5", "--run", tmp_path / "run")  # fmt: skip
    assert "recordings to learn from" in said and str(out) in said
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0 and all(np.isfinite(line["loss"]) for line in lines[1:]) and len(lines) > 2
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    bundle = load_bundle(out)  # checks every hash
    assert bundle.card.name == "our-calls"
    assert stored_student(tmp_path / "run" / "weights.safetensors").shape == stored_student(WEIGHTS).shape


def test_a_model_of_transformers_by_the_same_command(calls: Path, tmp_path: Path) -> None:
    source = write_wav2vec2_ctc(tmp_path / "source")
    run("fine-tune", calls, "--model", source, "--out", tmp_path / "tuned", "--epochs", "3", "--batch-seconds", "6",
        "--rate", "1e-2", "--run", tmp_path / "run")  # fmt: skip
    tuned = TransformersCtc(str(tmp_path / "tuned"))
    assert isinstance(tuned.transcribe(np.zeros(16_000, np.float32)), str)


def test_what_is_no_better_is_not_kept(calls: Path, tmp_path: Path) -> None:
    """A rate that ruins the model: the start is given back, to the bit."""
    model = StudentCtc(stored_student(WEIGHTS), tmp_path / "weights.safetensors")
    before = [one.detach().clone() for one in model.parameters()]
    train, dev = split_own(data.read_own_manifest(calls), 1)
    best = fine_tune(model, train, dev, calls.parent, Plan(epochs=1, rate=1.0, batch_s=10), tmp_path / "run")
    assert best.step == 0
    assert all(torch.equal(one, was) for one, was in zip(model.parameters(), before, strict=True))


def test_a_conformer_is_tuned_and_served_in_the_chunks_of_its_bundle(tmp_path: Path) -> None:
    student = small.student(small.CONFORMER)
    model = StudentCtc(student, tmp_path / "weights.safetensors", chunk=4)
    sound = (0.05 * np.random.default_rng(1).standard_normal(16_000)).astype(np.float32)
    assert torch.isfinite(model.loss([sound], ["yes"], np.random.default_rng(2)))
    based_on(ROOT / "shared/models/en-small", tmp_path / "tuned")
    model.save(tmp_path / "tuned")
    graph = onnx.load(tmp_path / "tuned" / "model.onnx").graph
    assert graph.input[0].type.tensor_type.shape.dim[1].dim_param == "16T"


def test_every_process_of_torchrun_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ctc_models.device() == torch.device("cuda") and taken == [3]


def test_a_name_that_no_bundle_may_have_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'Our Calls' cannot be a bundle's name"):
        based_on(ROOT / "shared/models/en-small", tmp_path / "Our Calls")


def test_a_few_steps_on_one_recording_learn_it(calls: Path, tmp_path: Path) -> None:
    model = StudentCtc(stored_student(WEIGHTS), tmp_path / "weights.safetensors")
    one = data.read_own_manifest(calls)[0]
    samples = data.Shards(calls.parent).read(one)
    optimiser = torch.optim.Adam(model.parameters(), 3e-4)
    losses = []
    for step in range(8):
        optimiser.zero_grad()
        loss = model.loss([samples], ["other words than were said"], np.random.default_rng(step))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


class Counted:
    """A model that says the right words once anything has moved it."""

    def __init__(self) -> None:
        self._weight, self.heard = torch.nn.Parameter(torch.zeros(1)), 0

    def loss(self, sounds: Sequence[data.Samples], texts: Sequence[str], draw: np.random.Generator) -> torch.Tensor:
        self.heard += len(sounds)
        return (self._weight - 1.0).square().sum()

    def transcribe(self, samples: data.Samples) -> str:
        return "yes" if float(self._weight.detach()) else "no"

    def parameters(self) -> list[torch.nn.Parameter]:
        return [self._weight]

    def save(self, folder: Path) -> None:
        raise AssertionError(folder)


@pytest.mark.parametrize("epochs", [1.0, 4.0])
def test_recordings_that_fill_no_batch_are_heard_as_often_as_others(tmp_path: Path, epochs: float) -> None:
    soundfile.write(tmp_path / "u1.wav", np.zeros(32_000, np.float32), 16_000)
    one, model = utterance(1, "a", text="yes"), Counted()
    best = fine_tune(model, [one], [one], tmp_path, Plan(epochs=epochs), tmp_path / "run")
    assert model.heard == epochs
    assert best.step and best.dev_wer == 0.0, "a step at a rate of 0 learns nothing"


def utterance(number: int, speaker: str, seconds: float = 2.0, text: str = "hello") -> data.Utterance:
    return data.Utterance(f"u{number}", "own", "", f"u{number}.wav", speaker, seconds, text, "human", "own")


def test_dev_is_of_other_speakers_where_they_are_named_and_of_other_recordings_else() -> None:
    train, dev = split_own([utterance(number, f"agent-{number % 5}") for number in range(50)], 1)
    assert dev and not {one.speaker for one in train} & {one.speaker for one in dev}
    train, dev = split_own([utterance(number, "unknown") for number in range(50)], 1)
    assert len(dev) == 5 and len(train) == 45


@pytest.mark.parametrize("suffixes", [("lee", "ray", "kim", "fox"), ("agent",) * 4])
def test_speakers_whose_names_have_hyphens_are_kept_apart(suffixes: Sequence[str]) -> None:
    names = [f"{first}-{second}" for first, second in zip(("ann", "bob", "cat", "dan"), suffixes, strict=True)]
    named = [utterance(number, names[number % 4]) for number in range(40)]
    train, dev = split_own([*named, *(utterance(number, "unknown") for number in range(40, 43))], 1)
    assert len({one.speaker for one in dev}) == 1
    assert {one.speaker for one in train} == {*names, "unknown"} - {one.speaker for one in dev}


def test_what_cannot_be_learnt_from_is_left_out() -> None:
    usable = [utterance(1, "a"), utterance(2, "a")]
    useless = [
        utterance(3, "a", seconds=45.0),
        utterance(4, "a", seconds=0.5, text="far too much text for half a second"),
    ]
    train, dev = split_own([*usable, *useless], 1)
    assert {one.id for one in [*train, *dev]} == {"u1", "u2"}
    with pytest.raises(ConfigError, match="2 at least"):
        split_own(useless, 1)
