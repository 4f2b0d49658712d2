"""The whole recipe on noise: cache, two processes, resume, checkpoint, export; and what its parts promise."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.unit.trainer import small

from stenoflow_trainer import data, levels
from stenoflow_trainer.batches import collate, padded_steps, schedule
from stenoflow_trainer.checkpoint import load_student
from stenoflow_trainer.error_rates import Counted, rates
from stenoflow_trainer.export import build_graph
from stenoflow_trainer.losses import divergence, level_errors
from stenoflow_trainer.model import Merged
from stenoflow_trainer.muon import Muon, orthogonal
from stenoflow_trainer.teacher import Projection
from stenoflow_trainer.telephone import pcm16
from stenoflow_trainer.train import load_settings, served_chunk

EXPERIMENT = """
seed = 1
processes = 2
[data]
dev_share = 0.2
dev_per_speaker = 2
batch_seconds = 3.0
spoiled = 0.5
accumulate = 2
[student]
strides = [[1, 2], [1], [1], [1], [1], [1]]
delays = [1, 1, 2, 2, 3, 3]
hidden = 32
[schedule]
warm_up = 0.05
forced_until = 0.1
free_from = 0.5
hard_from = 0.3
hard_at = 0.6
hardest = 1.0
ctc_from = 0.0
levels_from = 0.5
levels_at = 1.0
levels_least = 0.1
[optimiser]
muon_rate = 5e-3
muon_decay = 0.01
adam_rate = 2e-3
adam_decay = 0.01
clip = 1.0
ema = 0.9
ctc_weight = 0.3
[minutes]
dev = 1.0
checkpoint = 1.0
"""


def write_speech(folder: Path, count: int) -> None:
    """A manifest and a shard of `count` seconds-long noises by five speakers."""
    folder.mkdir()
    draw = np.random.default_rng(2)
    columns = ["id", "shard", "file", "speaker", "seconds", "text", "label", "original", "source", "licence"]
    with tarfile.open(folder / "train-000.tar", "w") as tar, (folder / "train.tsv").open("w") as lines:
        table = csv.DictWriter(lines, columns, delimiter="\t")
        table.writeheader()
        for number in range(count):
            samples = (0.05 * draw.standard_normal(16_000 + 640 * (number % 5))).astype(np.float32)
            encoded = io.BytesIO()
            soundfile.write(encoded, samples, 16_000, format="WAV")
            info = tarfile.TarInfo(f"u{number}.wav")
            info.size = len(encoded.getvalue())
            tar.addfile(info, io.BytesIO(encoded.getvalue()))
            row = {"id": f"u{number}", "shard": "train-000.tar", "file": info.name, "speaker": f"xx-{number % 5}"}
            row |= {"seconds": str(len(samples) / 16_000), "text": "yes we can", "label": "human"}
            table.writerow(row)


def write_levels(speech: Path, cache: Path) -> None:
    """What the teacher pass would write, from random numbers instead of a teacher."""
    draw = np.random.default_rng(3)
    shards = data.Shards(speech)
    utterances = data.read_manifest(speech, "train")
    sounds = [pcm16(levels.padded(one, shards)) for one in utterances]
    stacked = np.concatenate([data.fbank(sound / np.float32(32768)) for sound in sounds])
    empty = [np.zeros(1, np.float32)] * 6
    cache.mkdir()
    Projection(empty, empty, [1.0] * 6, stacked.mean(axis=0), stacked.std(axis=0)).save(
        cache / "projection.safetensors"
    )
    writer = levels.PartWriter(cache / "part-0")
    for one, sound in zip(utterances, sounds, strict=True):
        steps = len(sound) // data.STEP
        log_probs = np.log(draw.dirichlet(np.ones(29), (steps, 2)) + 1e-4)
        inner = draw.standard_normal((steps, 6, 384))
        writer.add(one, sound, inner.astype(np.float16), log_probs.astype(np.float16))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recipe")
    write_speech(root / "speech", 20)
    write_levels(root / "speech", root / "levels")
    (root / "experiment.toml").write_text(EXPERIMENT)
    return root


def run_training(root: Path, hours: float, *more: str) -> None:
    command = [sys.executable, "-m", "stenoflow_trainer", "train", str(root / "experiment.toml"), "--hours", str(hours)]
    for option in ("speech", "levels", "run"):
        command += [f"--{option}", str(root / option)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *more], check=True, env=environment, timeout=300)


@pytest.mark.timeout(300)  # trains; on a full machine it takes minutes
def test_recipe_trains_resumes_and_exports(made: Path) -> None:
    run_training(made, 0.001)
    first = torch.load(made / "run" / "checkpoint.pt", weights_only=True)
    run_training(made, 0.002, "--resume")
    second = torch.load(made / "run" / "checkpoint.pt", weights_only=True)
    assert second["step"] > first["step"] > 0
    assert second["spent"] >= 7.2 > first["spent"]
    figures = [json.loads(line) for line in (made / "run" / "log.jsonl").read_text().splitlines()]
    assert figures[-1]["dev_kl"] < 10.0 and np.isfinite(figures[-1]["dev_levels"]).all()
    assert "dev WER" in (made / "run" / "progress.svg").read_text()
    assert list((made / "run").glob("events.out.tfevents.*"))
    student = load_student(made / "run" / "checkpoint.pt", load_settings(made / "experiment.toml"))
    assert len(build_graph(Merged(student), int8=True).graph.node) > 50


def test_the_recipe_trains_a_conformer_too(made: Path, tmp_path: Path) -> None:
    conformer = 'architecture = "conformer"\nleft = 4\nchunks = [2, 4, 0]\nserved_chunk = 2'
    experiment = EXPERIMENT.replace("delays = [1, 1, 2, 2, 3, 3]", f"delays = [0, 0, 2, 2, 4, 4]\n{conformer}")
    (tmp_path / "experiment.toml").write_text(experiment)
    for shared in ("speech", "levels"):
        (tmp_path / shared).symlink_to(made / shared)
    run_training(tmp_path, 0.001)
    settings = load_settings(tmp_path / "experiment.toml")
    student = load_student(tmp_path / "run" / "checkpoint.pt", settings)
    graph = build_graph(Merged(student, served_chunk(settings)), int8=True).graph
    assert graph.input[0].type.tensor_type.shape.dim[1].dim_param == "8T"


def test_interrupted_teacher_pass_goes_on_after_the_last_whole_utterance(made: Path, tmp_path: Path) -> None:
    one = data.read_manifest(made / "speech", "train")[0]
    arrays = [np.ones((5, *shape), number) for number, shape in levels.ARRAYS.values()]
    levels.PartWriter(tmp_path / "part-0").add(one, *arrays)
    with (tmp_path / "part-0" / "levels.f16").open("ab") as file:
        file.write(b"half an utterance")
    assert levels.PartWriter(tmp_path / "part-0").done == {one.id: 5}
    assert len(levels.open_cache(tmp_path)) == 1
    assert (tmp_path / "part-0" / "levels.f16").stat().st_size == 5 * 6 * 384 * 2


def test_two_copies_at_one_speed_and_half_a_line_spoil_no_cache(made: Path, tmp_path: Path) -> None:
    """Of 2,000 recordings with two copies each some seven have twins, of one id."""
    one, other = data.read_manifest(made / "speech", "train")[:2]
    for number, twin in enumerate((one, one, other)):
        writer = levels.PartWriter(tmp_path / "part-0", [levels.SOUND])
        writer.add(twin, np.full(5 * data.STEP, number, np.int16), None, None)
        with (tmp_path / "part-0" / "index.tsv").open("a") as index:
            index.write(f"{other.id}\ttra")
    assert [int(each.sound.min()) for each in levels.open_cache(tmp_path)] == [0, 1, 2]
    assert [each.id for each in levels.open_cache(tmp_path)] == [one.id, one.id, other.id]


def test_targets_come_as_late_as_the_level_is_allowed(made: Path) -> None:
    chosen = levels.open_cache(made / "levels")[:3]
    delays = (1, 1, 2, 2, 3, 3)
    flush = np.full(80, 4.0, np.float32)
    batch = collate(chosen, ["yes"] * 3, delays, flush, np.random.default_rng(0), None)
    for row, one in enumerate(chosen):
        assert np.array_equal(batch.features[row, : 4 * one.steps], data.fbank(one.sound / np.float32(32768)))
        assert (batch.features[row, 4 * one.steps :] == 4.0).all()
        for k, delay in enumerate(delays):
            assert np.array_equal(batch.levels[row, delay : delay + one.steps, k], one.levels[:, k])
            assert int(batch.level_mask[row, :, k].sum()) == one.steps
    perfect = [batch.levels[:, :, k] for k in range(6)]
    assert float(level_errors(perfect, batch).max()) == 0.0
    assert abs(float(divergence(batch.log_probs, batch))) < 1e-6


def test_every_epoch_hears_nearly_everything_once() -> None:
    steps = np.random.default_rng(1).integers(20, 400, 300).tolist()
    plans = [schedule(steps, 1500, seed=3, share=share, shares=2) for share in range(2)]
    heard: list[int] = []
    while True:
        (ours, epoch), (theirs, other) = next(plans[0]), next(plans[1])
        assert epoch == other
        if epoch:
            break
        heard += ours + theirs
        assert max(steps[index] for index in ours) * len(ours) <= 1500
    assert len(heard) == len(set(heard)) and len(heard) > 270


def test_fewer_batches_than_processes_keep_nobody_waiting() -> None:
    plans = [schedule([100, 100, 200], 250, seed=3, share=share, shares=4) for share in range(4)]
    signal.alarm(20)  # what never yields would never fail
    heard = [next(plan) for plan in plans]
    signal.alarm(0)
    assert {index for indices, _ in heard for index in indices} == {0, 1, 2}
    assert [epoch for _, epoch in heard] == [0] * 4 and next(plans[0])[1] == 1


def test_lengths_of_batches_are_few() -> None:
    steps = np.random.default_rng(1).integers(20, 400, 3000).tolist()
    plan = schedule(steps, 1500, seed=3)
    lengths = {padded_steps(max(steps[index] for index in next(plan)[0])) for _ in range(500)}
    assert len(lengths) <= 400 / 8


def test_reading_ahead_touches_nothing(made: Path) -> None:
    one = levels.open_cache(made / "levels")[7]
    before = one.levels.copy()
    levels.read_ahead(one)
    assert np.array_equal(one.levels, before)


def test_muon_update_is_nearly_orthogonal() -> None:
    torch.manual_seed(0)
    for shape in ((64, 160), (3, 160, 64)):
        update = orthogonal(torch.randn(shape), steps=6, dtype=torch.float32)
        values = torch.linalg.svdvals(update)
        assert update.shape == shape and values.min() > 0.5 and values.max() < 1.4


def test_processes_that_share_muon_make_what_one_alone_makes() -> None:
    torch.manual_seed(0)
    shapes = [(64, 32), (32, 64), (64, 32), (32, 96)]
    gradients = [torch.randn(shape) for shape in shapes]
    moved = []
    for shares in (1, 2):
        parameters = [torch.ones(shape) for shape in shapes]
        members = [Muon(parameters, share=share, shares=shares) for share in range(shares)]
        members[0].apply([member.updates(gradients, 0.5) for member in members], rate=0.1, decay=0.01)
        moved.append(parameters)
    for alone, together in zip(*moved, strict=True):
        assert torch.allclose(alone, together, atol=0.02)
        assert not torch.allclose(alone, torch.ones(alone.shape), atol=0.02)


def test_interval_is_by_speaker() -> None:
    # One bad speaker of two: whole speakers are drawn, so the interval reaches both ends.
    rows = [Counted("a", 0, 10, 0, 50)] * 5 + [Counted("b", 10, 10, 50, 50)] * 5
    assert rates(rows)["wer"] == 50.0
    assert rates(rows)["wer_interval"] == [0.0, 100.0]


def test_small_student_runs() -> None:
    assert small.whole(small.student(), small.log_mel(1, 4)).shape == (1, 8, 29)
