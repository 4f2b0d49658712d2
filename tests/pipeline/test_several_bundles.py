"""Two bundles in one stack: each call gets the words of its own, and an unknown one is told what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stenoflow.audio.files import open_audio
from stenoflow.base.errors import StenoflowError
from stenoflow.protocol import messages as wire
from stenoflow_acoustic.adding.add import add_bundle
from stenoflow_cli.streaming import Stream
from tests.stack import StackProcess
from tests.unit.cli.test_bundles import offline

SAMPLE = Path(__file__).resolve().parents[2] / "shared" / "samples" / "two-sided-call.flac"

pytestmark = pytest.mark.timeout(180)


async def heard(url: str, bundle: str | None) -> tuple[str, set[str]]:
    """The bundle that a call got, and the words of its first 8 s."""
    audio = open_audio(SAMPLE)
    started: list[str] = []

    def note(message: Any) -> None:
        if isinstance(message, wire.Started):
            started.append(message.bundle)

    start = wire.Start(
        kind="file", bundle=bundle, tracks=(wire.TrackRequest(name="one", sample_rate=audio.sample_rate),)
    )
    async with Stream(url, start, note, give_up_s=30) as call:
        samples = np.frombuffer(b"".join(block[0] for block in audio.blocks()), np.int16)[: 8 * audio.sample_rate]
        for begin in range(0, len(samples), audio.sample_rate // 2):
            await call.say(0, samples[begin : begin + audio.sample_rate // 2].tobytes())
        finals = await call.finish()
    return started[0], {word for final in finals for word in final.text.split()}


async def once_served(url: str, bundle: str) -> set[str]:
    """The words of a call with a bundle; the stack takes calls once any is served, so this one may come later."""
    while True:
        try:
            name, words = await heard(url, bundle)
        except StenoflowError as error:
            assert error.code == "unknown_bundle" and "served are: " in error.message
        else:
            assert name == bundle
            return words


async def test_each_call_gets_the_bundle_that_it_names(tmp_path: Path) -> None:
    letters = add_bundle(str(offline(tmp_path / "letters", frames_last=False)), tmp_path / "models")
    options = ("--second-pass", "off", "--bundle", "en-small", "--bundle", str(letters.folder))
    stack = StackProcess(tmp_path / "logs", options)
    try:
        said = {bundle: await once_served(stack.stream_url, bundle) for bundle in ("letters", "en-small")}
        assert said["letters"] and all(set(word) <= {"a", "b"} for word in said["letters"])
        assert any(set(word) - {"a", "b"} for word in said["en-small"])
        name, _ = await heard(stack.stream_url, None)
        assert name == "en-small", "a call that names none gets the usual one"
        with pytest.raises(StenoflowError, match="served are: en-small, letters"):
            await heard(stack.stream_url, "klingon")
    finally:
        stack.stop()
