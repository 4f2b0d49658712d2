"""How many tracks this process can carry: measured at start, not guessed."""

from __future__ import annotations

import statistics
import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stenoflow.base.clock import Clock
from stenoflow.base.shipped import shipped
from stenoflow_second_pass.models.base import SpeechModel

UTTERANCE_S = 5
"""Length of a usual utterance of a call. It is real speech: over anything else some models write without end, others
nothing."""

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


def usual_utterance() -> npt.NDArray[np.float32]:
    """Five seconds of speech at 16 kHz, in [-1, 1]."""
    with wave.open(str(shipped("shared/samples") / "utterance.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    return pcm.astype(np.float32) / np.float32(32768.0)


def measure(model: SpeechModel, clock: Clock) -> Capacity:
    """Times the model over a usual utterance."""
    utterances = [usual_utterance()] * model.batch
    times: list[float] = []
    for _ in range(RUNS + 1):
        begin = clock.monotonic()
        model.read(utterances, [""] * len(utterances))
        times.append(clock.monotonic() - begin)
    each_s = max(statistics.median(times[1:]) / len(utterances), 1e-6)  # the first run is the warm-up
    return Capacity(each_s * 1000, int(min(max(1, SHARE * UTTERANCE_S / SPEECH / each_s), MAX_PLACES)))
