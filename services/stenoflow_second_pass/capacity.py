"""How many tracks this process can carry: measured at start, not guessed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from stenoflow.base.clock import Clock
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_second_pass.models.base import SpeechModel

UTTERANCE_S = 5
"""A usual utterance of a call."""

SPEECH = 0.5
"""Part of the time that a track speaks: its other half listens."""

SHARE = 0.6
"""Part of the time that tracks may fill, so that queues stay within the budget."""

RUNS = 3

MAX_PLACES = 4096


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was measured.

    Args:
        utterance_ms: to hear one usual utterance, milliseconds.
        tracks: that can be carried, with margin.
    """

    utterance_ms: float
    tracks: int


def measure(model: SpeechModel, clock: Clock) -> Capacity:
    """Times the model over something that it takes for speech: a buzz that comes and goes like syllables."""
    seconds = np.arange(UTTERANCE_S * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    buzz = np.sign(np.sin(2 * np.pi * 120 * seconds)) * np.maximum(0.0, np.sin(2 * np.pi * 4 * seconds)) * 0.1
    utterances = [buzz.astype(np.float32)] * model.batch
    times: list[float] = []
    for _ in range(RUNS + 1):
        begin = clock.monotonic()
        model.read(utterances, [""] * len(utterances))
        times.append(clock.monotonic() - begin)
    each_s = max(statistics.median(times[1:]) / len(utterances), 1e-6)  # the first run is the warm-up
    return Capacity(each_s * 1000, int(min(max(1, SHARE * UTTERANCE_S / SPEECH / each_s), MAX_PLACES)))
