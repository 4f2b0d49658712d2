"""kill -9 of second-pass workers in the middle of ten calls: no final's text changes, none is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import transcribe
from stenoflow_cli.stages import all_stages
from stenoflow_second_pass.models.choice import installed_model
from tests.pipeline.calls import sample_sound, speak, texts
from tests.stack import StackProcess

CALLS = 10

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(300),
    pytest.mark.skipif(installed_model() is None, reason="no model for the second pass is installed"),
]


def undisturbed() -> Mapping[int, list[tuple[int, int, str]]]:
    messages = transcribe(all_stages("en-small", "auto"), sample_sound())
    finals = [wire.Final.model_validate(each) for each in messages if each["type"] == "final" and each["text"]]
    assert {final.pass_ for final in finals} == {2}
    return {track: texts(finals, track) for track in (0, 1)}


async def test_killed_workers_change_no_text_and_lose_none(full_stack: StackProcess) -> None:
    killed: list[int] = []

    def kill_both(second: float) -> None:
        if (second > 4 and not killed) or (second > 14 and len(killed) == 1):
            killed.append(full_stack.kill("stenoflow_second_pass"))

    calls = [
        speak(full_stack.stream_url, pace=1.0, during=kill_both if number == 0 else lambda second: None)
        for number in range(CALLS)
    ]
    heard = await asyncio.gather(*calls)
    assert len(killed) == 2
    expected = undisturbed()
    for finals, _ in heard:
        for track in (0, 1):
            assert texts(finals, track) == expected[track], full_stack.last_words()
