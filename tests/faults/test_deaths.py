"""kill -9 in the middle of a call: the finals equal the undisturbed run's, whoever dies."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from stenoflow.protocol import messages as wire
from tests.pipeline.calls import oracle, speak, texts
from tests.stack import StackProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "module", ["stenoflow_features", "stenoflow_acoustic", "stenoflow_decoder", "stenoflow_gateway"]
)
async def test_a_killed_process_loses_and_doubles_nothing(stack: StackProcess, module: str) -> None:
    killed: list[int] = []
    shown: list[float] = []

    def kill_twice(second: float) -> None:
        # Both of a stage's two workers, one after the other: whichever holds the tracks dies in the middle of them.
        if (second > 5 and not killed) or (second > 12 and len(killed) == 1):
            killed.append(stack.kill(module))

    covered = 0

    def note(message: Any) -> None:
        # Captions go on where the decoder does: while it stands still, progress events alone are no captions.
        nonlocal covered
        if isinstance(message, wire.Progress):
            position = min(track.decoder for track in message.tracks)
            if position > covered:
                covered = position
                shown.append(time.monotonic())

    finals, resumes = await speak(stack.stream_url, pace=1.5, during=kill_twice, on_message=note)
    for track in (0, 1):
        assert texts(finals, track) == texts(oracle(), track), stack.last_words()
    assert len(killed) == 2
    assert (resumes > 0) == (module == "stenoflow_gateway")
    pauses = [later - earlier for earlier, later in pairwise(shown)]
    print(f"{module}: longest pause before captions cover new sound {max(pauses):.2f} s")
