"""Teachers whose inside is not known: what they say in the student's terms, and that it alone teaches a student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.acoustic import checkpoints
from tests.unit.trainer import small
from tests.unit.trainer.test_recipe import EXPERIMENT, run_training, write_speech

from stenoflow.base.errors import ConfigError
from stenoflow.bundle.card import TokensCard
from stenoflow.bundle.loading import load_bundle
from stenoflow_acoustic.adding.add import add_bundle
from stenoflow_acoustic.transformers_windows import TransformersWindows
from stenoflow_trainer import data, levels
from stenoflow_trainer.batches import SYMBOLS, Batch, collate
from stenoflow_trainer.bundle_teacher import BLANK, BundleTeacher, as_student_symbols, in_steps, student_columns
from stenoflow_trainer.evaluate import Acoustic
from stenoflow_trainer.losses import divergence, level_errors, transcript_loss
from stenoflow_trainer.teacher import Teacher
from stenoflow_trainer.teachers import load_teacher
from stenoflow_trainer.train import greedy, load_corpus, load_settings

ROOT = Path(__file__).resolve().parents[3]
LETTERS = ("<pad>", "<s>", "|", *"etaonihsrdlumwcfgypbvk'xjqz")
TOKENS = TokensCard(symbols=LETTERS, blank=0, separator=2, hidden=(1,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech, and bundles of two random models of transformers: of letters, and of pieces of words."""
    root = tmp_path_factory.mktemp("teachers")
    write_speech(root / "speech", 12)
    for family in ("wav2vec2", "parakeet"):
        add_bundle(str(checkpoints.save(root / "checkpoints" / family, family)), root / "bundles")
    (root / "experiment.toml").write_text(EXPERIMENT)
    return root


def teach(folder: Path, family: str, cache: Path) -> Teacher:
    """The teacher pass in this process."""
    teacher = load_teacher(folder / "bundles" / family)
    utterances, shards = data.read_manifest(folder / "speech", "train"), data.Shards(folder / "speech")
    projection = levels.fit_projection(utterances, shards, teacher)
    cache.mkdir(parents=True)
    projection.save(cache / "projection.safetensors")
    list(levels.write_part(cache / "part-0", utterances, shards, teacher, projection))
    return teacher


@pytest.fixture(scope="module")
def emissions_alone(folder: Path) -> Path:
    cache = folder / "of-letters"
    teacher = teach(folder, "wav2vec2", cache)
    assert teacher.gives_emissions and not teacher.gives_levels
    return cache


@pytest.fixture(scope="module")
def texts_alone(folder: Path) -> Path:
    cache = folder / "of-pieces"
    teacher = teach(folder, "parakeet", cache)
    assert not teacher.gives_emissions and not teacher.gives_levels
    return cache


def test_symbols_are_found_wherever_they_are() -> None:
    columns = student_columns(TOKENS)
    assert columns is not None
    assert [LETTERS[at] for at in columns] == ["|", *SYMBOLS[1:], "<pad>"]
    assert student_columns(TOKENS.model_copy(update={"separator": None})) is None
    assert student_columns(TOKENS.model_copy(update={"hidden": (1, 3)})) is None  # a letter less
    assert student_columns(TOKENS.model_copy(update={"symbols": (*LETTERS, "é")})) is None  # a letter more


def test_what_shows_no_text_counts_as_blank() -> None:
    columns = student_columns(TOKENS)
    assert columns is not None
    log_probs = np.log(np.random.default_rng(1).dirichlet(np.ones(len(LETTERS)), 5)).astype(np.float32)
    ours = np.exp(as_student_symbols(log_probs, columns))
    assert np.allclose(ours.sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(ours[:, BLANK], np.exp(log_probs[:, :2]).sum(axis=1), atol=1e-5)
    assert np.allclose(ours[:, 0], np.exp(log_probs[:, 2]), atol=1e-6)


@pytest.mark.parametrize("milliseconds", [20, 40, 80])
def test_slower_emissions_say_the_same_at_twenty_milliseconds(milliseconds: int) -> None:
    said = [0, BLANK, 5, BLANK, 5, 5, 12, BLANK]
    log_probs = np.full((len(said), BLANK + 1), -20.0, np.float32)
    log_probs[np.arange(len(said)), said] = 0.0
    steps = len(said) * milliseconds // 40 + 3
    held = in_steps(log_probs, milliseconds, steps)
    assert held.shape == (steps, 2, BLANK + 1)
    assert greedy(torch.from_numpy(held).flatten(0, 1)) == greedy(torch.from_numpy(log_probs))
    assert (held[-2:].argmax(-1) == BLANK).all()


def test_faster_emissions_are_averaged() -> None:
    log_probs = np.log(np.random.default_rng(1).dirichlet(np.ones(BLANK + 1), 8)).astype(np.float32)
    held = in_steps(log_probs, 10, 2).reshape(4, -1)
    assert np.allclose(np.exp(held), np.exp(log_probs).reshape(4, 2, -1).mean(axis=1), atol=1e-6)


def test_a_windowed_bundle_hears_a_recording_as_one_window(folder: Path, emissions_alone: Path) -> None:
    one = levels.open_cache(emissions_alone)[3]
    assert one.levels is None and one.log_probs is not None
    sound = one.sound.astype(np.float32) / np.float32(32768)
    quiet = np.zeros(640, np.float32)
    whole = TransformersWindows(folder / "bundles" / "wav2vec2", "cpu").emissions(
        np.concatenate([sound, quiet])[None, : len(sound) + 160].reshape(1, -1, 160)
    )
    columns = student_columns(load_bundle(folder / "bundles" / "wav2vec2").card.tokens)
    assert columns is not None
    expected = as_student_symbols(whole[0], columns)[: 2 * one.steps]
    heard = one.log_probs.reshape(-1, BLANK + 1)[: len(expected)]
    assert np.abs(np.exp(heard.astype(np.float32)) - np.exp(expected)).max() < 0.02


def test_our_own_bundle_says_as_a_teacher_what_it_says() -> None:
    bundle, clip = ROOT / "shared" / "models" / "en-small", ROOT / "tests" / "clips" / "ls-1580-141083-0002.opus"
    samples = data.decode(clip.read_bytes(), clip.name)
    samples = samples[: len(samples) // data.STEP * data.STEP]
    said = BundleTeacher(bundle)([samples])[0].log_probs
    expected = Acoustic(bundle).whole(data.fbank(samples))
    assert said is not None
    # Frames travel as float16, and so does what the teacher hears: few emissions are near enough to a tie to turn.
    assert (said.reshape(expected.shape).argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95


def test_other_symbols_teach_by_text_alone(texts_alone: Path) -> None:
    cached = levels.open_cache(texts_alone)
    assert all(one.levels is None and one.log_probs is None for one in cached)
    # The list has texts by people; the teacher's are for recordings that have none.
    assert {one.text for one in cached} == {"yes we can"}


def test_a_teacher_writes_texts_where_nobody_did(folder: Path, tmp_path: Path) -> None:
    utterances = [replace(one, label="none", text="") for one in data.read_manifest(folder / "speech", "train")]
    teacher, shards = load_teacher(folder / "bundles" / "parakeet"), data.Shards(folder / "speech")
    projection = levels.fit_projection(utterances[:2], shards, teacher)
    list(levels.write_part(tmp_path / "part-0", utterances, shards, teacher, projection))
    texts = [one.text for one in levels.open_cache(tmp_path)]
    assert any(texts) and set("".join(texts)) <= set(SYMBOLS)


def learn(student: torch.nn.Module, batch: Batch, look_ahead: int) -> tuple[float, float]:
    """(KL, CTC) after 40 steps on one batch, by what the batch has."""
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    for _ in range(40):
        log_probs = student(batch.features)[1]
        loss = divergence(log_probs, batch) + 0.3 * transcript_loss(log_probs, batch, look_ahead)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return figures(student, batch, look_ahead)


def figures(student: torch.nn.Module, batch: Batch, look_ahead: int) -> tuple[float, float]:
    with torch.no_grad():
        said, log_probs = student(batch.features)
        assert float(level_errors(said, batch).sum()) == 0.0
        return float(divergence(log_probs, batch)), float(transcript_loss(log_probs, batch, look_ahead))


@pytest.mark.parametrize(("given", "falls"), [("emissions_alone", 0), ("texts_alone", 1)])
def test_a_student_learns_from_it_alone(given: str, falls: int, request: pytest.FixtureRequest) -> None:
    chosen = levels.open_cache(request.getfixturevalue(given))[:2]
    student = small.student().train()
    texts = ["yes we can" if falls else ""] * len(chosen)
    flush = np.full(80, 4.0, np.float32)
    batch = collate(chosen, texts, student.shape.delays, flush, np.random.default_rng(0), None)
    assert not batch.level_mask.any() and bool(batch.emission_mask.any()) == (not falls)
    before = figures(student, batch, student.shape.look_ahead)
    after = learn(student, batch, student.shape.look_ahead)
    assert after[falls] < 0.75 * before[falls]
    assert before[1 - falls] == after[1 - falls] == 0.0


def test_the_loop_trains_on_texts_alone_from_the_beginning(folder: Path, texts_alone: Path, tmp_path: Path) -> None:
    (tmp_path / "speech").symlink_to(folder / "speech")
    (tmp_path / "levels").symlink_to(texts_alone)
    (tmp_path / "experiment.toml").write_text(EXPERIMENT.replace("ctc_from = 0.0", "ctc_from = 2.0"))
    run_training(tmp_path, 0.001)
    line = (tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1]
    assert "dev_wer" in line and "dev_kl" not in line and "dev_levels" not in line
    stored = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    moments = [state["exp_avg"] for state in stored["adam"]["state"].values()]
    assert any(moment.abs().max() > 0 for moment in moments)  # there was something to learn from


def test_levels_and_emissions_alone_are_trained_on_together(folder: Path, emissions_alone: Path) -> None:
    corpus = load_corpus(folder / "speech", [emissions_alone], load_settings(folder / "experiment.toml"))
    one, other = corpus.train[:2]
    with_levels = replace(one, levels=np.ones((one.steps, 6, 384), np.float16))
    batch = collate(
        [with_levels, other], ["", ""], (1, 1, 2, 2, 3, 3), np.zeros(80, np.float32), np.random.default_rng(0), None
    )
    assert batch.level_mask[0].any() and not batch.level_mask[1].any() and batch.emission_mask.any(dim=1).all()
    perfect = [batch.levels[:, :, k] for k in range(6)]
    assert float(level_errors(perfect, batch).sum()) == 0.0
    assert float(level_errors([level + 1.0 for level in perfect], batch).min()) == 1.0


def test_a_folder_without_a_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a bundle"):
        load_teacher(tmp_path)
