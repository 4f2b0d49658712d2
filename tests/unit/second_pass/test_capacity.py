"""How many tracks a process says that it carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_second_pass.capacity import MAX_PLACES, UTTERANCE_S, measure, usual_utterance
from stenoflow_second_pass.models.base import Reading


class Slow:
    """A model that needs so long for an utterance, on a clock that it moves itself."""

    batch = 1
    name = summary = "slow"

    def __init__(self, each_s: float) -> None:
        self.each_s, self.now = each_s, 0.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return int(self.now * 1000)

    def read(self, utterances: Sequence[NDArray[np.float32]], prompts: Sequence[str]) -> list[Reading]:
        self.now += self.each_s * len(utterances)
        return [Reading("", 0.0, 0, True)] * len(utterances)


def test_the_usual_utterance_is_speech_of_the_length_that_is_counted() -> None:
    sound = usual_utterance()
    assert len(sound) == UTTERANCE_S * SAMPLE_RATE
    loud = np.sqrt((sound.reshape(-1, 320) ** 2).mean(axis=1)) > 0.01
    assert 0.5 < loud.mean() < 1.0


def test_a_model_that_is_twice_as_slow_carries_half_as_many() -> None:
    fast, slow = (measure(model, model) for model in (Slow(0.05), Slow(0.1)))
    assert fast.tracks == 120 and slow.tracks == 60 and slow.utterance_ms == 100.0


def test_there_is_always_room_for_one_and_never_for_more_than_can_be_counted() -> None:
    assert measure(snail := Slow(60.0), snail).tracks == 1
    assert measure(light := Slow(0.0), light).tracks == MAX_PLACES
