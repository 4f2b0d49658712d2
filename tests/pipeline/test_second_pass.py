"""The whole with a second pass, in one process: real speech reads like a conversation, and noise gives no words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jiwer
import numpy as np
import pytest
from numpy.typing import NDArray

from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.text.plain import plain_text
from stenoflow_cli.stages import all_stages
from stenoflow_second_pass.models.choice import installed_model
from tests.pipeline.calls import SAMPLE, sample_sound, texts

pytestmark = pytest.mark.skipif(installed_model() is None, reason="no model for the second pass is installed")

RATE, SECONDS = 16_000, 30
TIME = np.arange(RATE * SECONDS) / RATE


@cache
def stages() -> Mapping[Any, Any]:
    return all_stages("en-small", "auto")


def finals_of(chunk_ms: int) -> list[wire.Final]:
    messages = transcribe(stages(), sample_sound(), chunk_ms=chunk_ms)
    return [wire.Final.model_validate(each) for each in messages if each["type"] == "final" and each["text"]]


@cache
def sample_finals() -> list[wire.Final]:
    return finals_of(160)


def test_the_sample_reads_like_a_conversation() -> None:
    """A guard against a pipeline that loses words, not a measure of the model."""
    said = json.loads(SAMPLE.with_suffix(".json").read_text())
    reference = plain_text(" ".join(turn["text"] for turn in sorted(said, key=lambda turn: turn["track"])))
    hypothesis = " ".join(
        plain_text(final.text) for track in (0, 1) for final in sample_finals() if final.track == track
    )
    assert jiwer.wer(reference, hypothesis) < 0.35, hypothesis
    assert {final.pass_ for final in sample_finals()} == {2}
    assert sample_finals()[0].text[0].isupper()


def test_words_are_plain_and_lie_inside_their_utterance() -> None:
    for final in sample_finals():
        assert [word.word for word in final.words] == plain_text(final.text).split()
        last = final.begin
        for word in final.words:
            assert last <= word.begin <= word.end <= final.end
            assert 0 <= word.confidence <= 1
            last = word.begin


def test_any_chunking_gives_the_same_finals() -> None:
    for track in (0, 1):
        assert texts(finals_of(640), track) == texts(sample_finals(), track)


def _noise(level: float, colour: float) -> NDArray[np.float64]:
    draw = np.random.default_rng(7)
    spectrum = np.fft.rfft(draw.standard_normal(len(TIME)))
    spectrum /= np.maximum(1, np.arange(len(spectrum))) ** colour
    sound = np.fft.irfft(spectrum, len(TIME))
    return np.asarray(level * sound / sound.std())


def _melody() -> NDArray[np.float64]:
    draw = np.random.default_rng(7)
    sound = np.zeros(len(TIME))
    for begin in range(0, len(TIME), RATE // 2):
        length = min(RATE // 2, len(TIME) - begin)
        note = 262 * 2 ** (draw.integers(0, 13) / 12)
        tone = sum(0.5**part * np.sin(2 * np.pi * note * (part + 1) * TIME[:length]) for part in range(4))
        sound[begin : begin + length] = 0.2 * tone * np.exp(-4 * TIME[:length])
    return sound


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(lambda: _noise(0.1, 0.0), id="loud white noise"),
        pytest.param(lambda: _noise(0.003, 0.0), id="faint white noise"),
        pytest.param(lambda: _noise(0.1, 0.5), id="pink noise"),
        pytest.param(lambda: 0.2 * np.sin(2 * np.pi * 440 * TIME), id="hold tone"),
        pytest.param(lambda: 0.2 * np.sin(2 * np.pi * 440 * TIME) * (TIME % 6 < 2), id="ringback"),
        pytest.param(_melody, id="hold melody"),
        pytest.param(lambda: np.zeros(len(TIME)), id="silence"),
    ],
)
def test_what_is_no_speech_gives_no_words(sound: Callable[[], NDArray[np.float64]]) -> None:
    pcm = np.clip(np.rint(sound() * 32767), -32768, 32767).astype("<i2").tobytes()
    messages = transcribe(stages(), [Sound("line", RATE, pcm)])
    assert [each["text"] for each in messages if each["type"] == "final" and each["text"]] == []
