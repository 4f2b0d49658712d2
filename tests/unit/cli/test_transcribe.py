"""What ``transcribe`` says beside the captions, and how it is interrupted."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stenoflow.base.errors import ConfigError
from stenoflow.runtime import in_process
from stenoflow_cli import stages, transcribe
from stenoflow_cli.transcribe import Format, Pace, TranscribeOptions, transcribe_files
from tests.unit.acoustic.models import make_bundle
from tests.unit.gateway.harness import running_gateway


def options(*, here: bool) -> TranscribeOptions:
    return TranscribeOptions(None, Pace.FAST, Format.TEXT, None, "en-small", here, "off", [])


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    path = tmp_path / "night[1].wav"  # brackets are styles to rich
    soundfile.write(path, np.zeros(3 * 16_000), 16_000)
    return path


@pytest.fixture
def hear_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "all_stages", lambda *_: {})
    monkeypatch.setattr(in_process, "transcribe", lambda *_, **__: iter(()))


@pytest.mark.usefixtures("hear_nothing")
def test_a_file_without_speech_is_told_beside_the_captions(silence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert transcribe_files([silence], options(here=True)) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"no speech was heard in {silence} (3 s)" in said.err


def test_without_a_stack_it_says_so_and_how_to_name_one(
    silence: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_other(*_: object) -> object:
        raise ConfigError("stop_here", "one was to be started")

    monkeypatch.setattr(transcribe, "_answers", lambda _: False)
    monkeypatch.setattr(transcribe, "running_stack", no_other)
    with pytest.raises(ConfigError, match="one was to be started"):
        transcribe_files([silence], options(here=False))
    said = capsys.readouterr().err
    assert "no stack at http://127.0.0.1:8000" in said
    assert "`stenoflow up`" in said and "--url" in said


@pytest.mark.usefixtures("hear_nothing")
def test_one_interrupt_ends_it_in_the_middle_of_a_step(silence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event loop would note the first Ctrl-C, and act on it when the step has ended: here, after all files."""

    ran_to_its_end = []

    def long_step(*_: object, **__: object) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(2)
        ran_to_its_end.append(True)
        yield from ()

    monkeypatch.setattr(in_process, "transcribe", long_step)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            transcribe_files([silence], options(here=True))
        assert not ran_to_its_end
    finally:
        signal.signal(signal.SIGINT, before)


async def test_the_bundle_that_is_named_is_what_a_running_gateway_is_asked_for(
    tmp_path: Path, silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = make_bundle(tmp_path / "elsewhere")  # whose card says tiny
    async with running_gateway() as running:
        codes = {}
        for bundle in ("test", "klingon", str(tiny), None):
            asked = dataclasses.replace(options(here=False), url=running.url, bundle=bundle)
            codes[bundle] = await asyncio.to_thread(transcribe_files, [silence], asked), capsys.readouterr().err
        assert [codes[bundle][0] for bundle in ("test", None)] == [0, 0]
        for bundle in ("klingon", str(tiny)):
            assert codes[bundle][0] == 2 and "served are: test" in codes[bundle][1]
