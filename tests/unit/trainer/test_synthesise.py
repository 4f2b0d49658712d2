"""Synthesised speech: what is said, by whom, how the list is made and how it comes into training."""

from __future__ import annotations

import math
from array import array
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.unit.trainer.test_recipe import EXPERIMENT, write_levels, write_speech

from stenoflow.base.errors import ConfigError
from stenoflow_trainer import data, levels
from stenoflow_trainer.evaluate import Acoustic
from stenoflow_trainer.lm import Text
from stenoflow_trainer.synthesise import MANIFEST, SIZES, WORDS, sentences, speak, synthesise
from stenoflow_trainer.teacher import Projection, Said
from stenoflow_trainer.train import load_corpus, load_settings
from stenoflow_trainer.voices import load_voice

TEXTS = ["i would like to pay", "what is my balance", "my card was stolen yesterday", "thank you very much"]
BUNDLE = Path(__file__).resolve().parents[3] / "shared" / "models" / "en-small"
HERTZ = 200.0


class Tone:
    """Hums for 60 ms a letter."""

    rate = 8_000

    def say(self, text: str, speed: float) -> data.Samples:
        count = int(0.06 * len(text) / speed * self.rate)
        hum = array("f", (math.sin(2 * math.pi * HERTZ * at / self.rate) for at in range(count)))
        return np.frombuffer(hum, np.float32)


def hertz(samples: data.Samples) -> float:
    """Of the loudest tone."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * data.SAMPLE_RATE / len(samples))


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]])
def test_a_size_moves_the_pitch_and_not_the_speed(size: float) -> None:
    samples = speak(Tone(), TEXTS[2], speed=1.1, size=size)
    assert hertz(samples) == pytest.approx(size * HERTZ, rel=0.02)
    assert len(samples) / data.SAMPLE_RATE == pytest.approx(0.06 * len(TEXTS[2]) / 1.1, rel=0.02)


def test_the_list_says_what_was_spoken(tmp_path: Path) -> None:
    *_, (count, seconds) = synthesise(TEXTS, {"tone:low": Tone()}, 0.005, tmp_path, seed=1)
    listed = data.read_own_manifest(tmp_path / MANIFEST)
    assert len(listed) == count and seconds >= 18.0
    assert {one.text for one in listed} == set(TEXTS) and len({one.speaker for one in listed}) > 3
    for one in listed:
        assert soundfile.info(tmp_path / one.file).duration == pytest.approx(one.seconds, abs=0.01)
        assert hertz(data.Shards(tmp_path).read(one)) == pytest.approx(float(one.speaker[-3:].strip(".")) * 2, rel=0.02)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    voices = {"tone:a": Tone(), "tone:b": Tone()}
    *_, _ = synthesise(TEXTS, voices, 0.004, tmp_path / "at once", seed=1)
    running = synthesise(TEXTS, voices, 0.004, tmp_path / "in two", seed=1)
    list(takewhile(lambda made: made[0] < 3, running))
    running.close()
    *_, _ = synthesise(TEXTS, voices, 0.004, tmp_path / "in two", seed=1)
    assert (tmp_path / "in two" / MANIFEST).read_text() == (tmp_path / "at once" / MANIFEST).read_text()


def test_a_voice_that_says_nothing_ends_the_run(tmp_path: Path) -> None:
    class Mute(Tone):
        def say(self, text: str, speed: float) -> data.Samples:
            return np.zeros(0, np.float32)

    with pytest.raises(ConfigError, match="say nothing"):
        list(synthesise(TEXTS, {"mute": Mute()}, 0.01, tmp_path, seed=1))


def test_sentences_are_of_one_breath_and_come_once() -> None:
    lines = [*TEXTS, "yes", TEXTS[0], " ".join(["no"] * (WORDS[1] + 1))]
    assert sorted(sentences(lines, seed=1)) == sorted(TEXTS)
    with pytest.raises(ConfigError):
        sentences(["yes"], seed=1)


def test_sentences_of_a_held_set_are_not_spoken(tmp_path: Path) -> None:
    write_speech(tmp_path / "speech", 4)
    held = (tmp_path / "speech" / "train.tsv").read_text().replace("yes we can", TEXTS[2])
    (tmp_path / "speech" / "held_calls.tsv").write_text(held.replace("xx-", "yy-9"))
    (tmp_path / "calls.txt").write_text("\n".join(f"{text.capitalize()}." for text in TEXTS))
    allowed = Text(tmp_path, tmp_path / "speech", share=0.2, seed=1).lines_of([tmp_path / "calls.txt"])
    assert list(allowed) == [text for text in TEXTS if text != TEXTS[2]]


class FullOfNoise:
    """A teacher of random numbers with levels as `write_levels` projects them."""

    gives_levels = gives_emissions = True

    def __call__(self, recordings: list[data.Samples]) -> list[Said]:
        counts = [len(samples) // data.STEP for samples in recordings]
        certain = np.full((max(counts), 2, 29), -20.0, np.float32)
        certain[:, :, 28] = 0.0
        return [Said([np.zeros((count, 1), np.float32)] * 6, certain[:count]) for count in counts]


def test_what_was_spoken_is_trained_on_beside_the_recordings(tmp_path: Path) -> None:
    write_speech(tmp_path / "speech", 20)
    write_levels(tmp_path / "speech", tmp_path / "levels")
    (tmp_path / "experiment.toml").write_text(EXPERIMENT)
    *_, _ = synthesise(TEXTS, {"tone:low": Tone()}, 0.003, tmp_path / "spoken", seed=1)
    listed = data.read_own_manifest(tmp_path / "spoken" / MANIFEST)
    projection = Projection.load(tmp_path / "levels" / "projection.safetensors")
    own = Projection(projection.mean, [np.ones((1, 384), np.float32)] * 6, [1.0] * 6, *_statistics(projection))
    cache = tmp_path / "levels-spoken"
    list(levels.write_part(cache / "part-0", listed, data.Shards(tmp_path / "spoken"), FullOfNoise(), own))
    projection.save(cache / "projection.safetensors")
    settings = load_settings(tmp_path / "experiment.toml")
    alone = load_corpus(tmp_path / "speech", [tmp_path / "levels"], settings)
    both = load_corpus(tmp_path / "speech", [tmp_path / "levels", cache], settings)
    assert len(both.train) == len(alone.train) + len(listed) and len(both.dev) == len(alone.dev)
    texts = {one.id: one.text for one in both.train}
    assert all(texts[one.id] == one.text for one in listed)
    own.save(cache / "projection.safetensors")
    with pytest.raises(ConfigError, match="projected otherwise"):
        load_corpus(tmp_path / "speech", [tmp_path / "levels", cache], settings)


def _statistics(projection: Projection) -> tuple[levels.npt.NDArray[np.float32], levels.npt.NDArray[np.float32]]:
    return projection.feature_mean, projection.feature_deviation


def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="take one of"):
        load_voice("flite:nobody")


@pytest.mark.parametrize(("name", "package"), [("hibari:heart", "hibari"), ("flite:rms", "flite")])
def test_a_voice_is_understood_and_speaks_faster(name: str, package: str) -> None:
    try:
        voice = load_voice(name)
    except ConfigError:
        pytest.skip(f"{package} is not installed")
    text = "i would like to change my appointment to thursday"
    said = speak(voice, text, speed=1.0, size=1.0)
    assert len(speak(voice, text, speed=1.3, size=1.0)) < 0.9 * len(said)
    acoustic = Acoustic(BUNDLE)
    understood = acoustic.greedy(acoustic.whole(data.fbank(data.pad_like_serving(said, np.random.default_rng(1)))))
    assert len(set(understood.split()) & set(text.split())) >= 4
