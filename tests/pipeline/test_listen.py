"""The microphone through the whole: what is played to it comes out as the words that the stages hear in it."""

from __future__ import annotations

import asyncio
import io
import os
import signal

import pytest
from rich.console import Console

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow_cli.listen import ListenOptions, listen
from tests.pipeline.calls import sample_sound, stages
from tests.stack import StackProcess
from tests.unit.cli.test_listen import PortAudio, plug

SECONDS = 8


@pytest.mark.faults
async def test_what_is_said_into_the_microphone_is_written_down(
    stack: StackProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = sample_sound()[0]
    assert sound.sample_rate == SAMPLE_RATE
    said = sound.pcm[: 2 * SECONDS * SAMPLE_RATE]
    microphone = PortAudio(["Built-in"], said=said)
    plug(monkeypatch, microphone)
    playing = asyncio.create_task(asyncio.to_thread(microphone.played.wait, 60))
    playing.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGINT))
    output = io.StringIO()
    options = ListenOptions(stack.url, None, "me", None, None, (), None)
    await asyncio.wait_for(listen(options, Console(file=output, width=300)), 100)
    heard = [
        wire.Final.model_validate(message).text
        for message in transcribe(stages(), [Sound("me", SAMPLE_RATE, said)])
        if message["type"] == "final" and message["text"]
    ]
    assert heard
    shown = [line.split(" me ", 1)[1].rsplit(" ms", 1)[0] for line in output.getvalue().splitlines() if " me " in line]
    assert [" ".join(line.split()[:-1]) for line in shown] == heard
