"""kill -9 after a ``configure``: whoever takes over goes by the settings in force, and tells every occurrence once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from stenoflow.protocol import messages as wire
from stenoflow_cli.streaming import Stream
from tests.pipeline.calls import SAMPLE, sample_sound, texts
from tests.stack import StackProcess

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

WORDS = sorted({
    word.strip(".,?!") for turn in json.loads(SAMPLE.with_suffix(".json").read_text())
    for word in turn["text"].lower().split() if len(word) >= 5
})  # fmt: skip
SPOT = tuple(wire.Spot(phrase=word, threshold=0.4) for word in WORDS[:50])
CHANGE_S = 8
CHANGED = wire.Configure(
    endpointing=wire.Endpointing(trailing_silence_ms=240), spot=SPOT[::2], boost=(wire.Boost(phrase="Stenoflow"),)
)


async def speak(
    stack: StackProcess, pace: float | None, during: Callable[[float], None] = lambda second: None
) -> tuple[Sequence[wire.Final], list[wire.Spotted]]:
    """Streams the sample with phrases to be spotted; other settings come after eight seconds."""
    sounds, spotted = sample_sound(), []
    tracks = tuple(wire.TrackRequest(name=sound.name, sample_rate=sound.sample_rate) for sound in sounds)
    start = wire.Start(kind="live" if pace else "file", tracks=tracks, spot=SPOT)
    size = 2 * sounds[0].sample_rate // 5
    loop = asyncio.get_running_loop()

    def note(message: object) -> None:
        if isinstance(message, wire.Spotted):
            spotted.append(message)

    async with Stream(stack.stream_url, start, note, give_up_s=40) as call:
        began = loop.time()
        for step in range(-(-max(len(sound.pcm) for sound in sounds) // size)):
            during(step / 5)
            if pace:
                await asyncio.sleep(max(0.0, began + step / 5 / pace - loop.time()))
            if step == CHANGE_S * 5:
                call.configure(CHANGED)
            for track, sound in enumerate(sounds):
                await call.say(track, sound.pcm[step * size : (step + 1) * size])
        return await call.finish(), spotted


@pytest.mark.parametrize("module", ["stenoflow_features", "stenoflow_decoder"])
async def test_settings_and_occurrences_survive_a_death(stack: StackProcess, module: str) -> None:
    killed: list[int] = []

    def kill_twice(second: float) -> None:
        if (second > CHANGE_S + 2 and not killed) or (second > CHANGE_S + 7 and len(killed) == 1):
            killed.append(stack.kill(module))

    finals, spotted = await speak(stack, pace=None)
    again, told = await speak(stack, pace=1.5, during=kill_twice)
    assert len(killed) == 2
    for track in (0, 1):
        assert texts(again, track) == texts(finals, track), stack.last_words()
    occurrences = sorted((each.track, each.begin, each.phrase, each.end, each.score) for each in told)
    assert len(occurrences) == len(set(occurrences)) > 0
    assert occurrences == sorted((each.track, each.begin, each.phrase, each.end, each.score) for each in spotted)
    late = {each.phrase for each in spotted if each.begin > (CHANGE_S + 1) * 16_000}
    assert late and late <= {spot.phrase for spot in SPOT[::2]}
