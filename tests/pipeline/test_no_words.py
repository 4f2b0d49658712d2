"""An hour of silence, of noise and of music, all at once through all stages: not one word, and all of it is final."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from load_tests.no_words import NOISE_DB, TONE_DB, at_level, melody, pcm, pink

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Kind
from stenoflow.bus.records import TrackInfo
from stenoflow.runtime.in_process import InProcessCall
from stenoflow_cli.stages import all_stages

HOUR_S = 3600
PIECE_S = 20
TRACKS = ("silence", "noise", "music")

pytestmark = pytest.mark.timeout(1200)  # a minute and a half where nothing else runs


def pieces() -> Iterator[dict[int, bytes]]:
    """An hour in pieces: zeros; white and pink noise from loud to faint by turns; a melody that goes on and on."""
    chance = np.random.default_rng(12)
    size = PIECE_S * SAMPLE_RATE
    for number in range(HOUR_S // PIECE_S):
        colour = pink(chance, size) if number % 2 else chance.standard_normal(size)
        tune = melody(np.arange(number * size, (number + 1) * size) / SAMPLE_RATE)
        yield {
            0: bytes(2 * size),
            1: pcm(at_level(colour, NOISE_DB[number % len(NOISE_DB)])),
            2: pcm(at_level(tune, TONE_DB)),
        }


def memory() -> int:
    """Of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_hour_without_speech_has_no_words_and_fills_no_memory() -> None:
    with patch.dict(os.environ, STENOFLOW_ACOUSTIC_PLACES=str(len(TRACKS))):  # else as many as a busy machine carries
        stages = all_stages("en-small")
    call = InProcessCall(stages, [TrackInfo(name, "pcm_s16le", SAMPLE_RATE) for name in TRACKS])
    committed, said, held = dict.fromkeys(range(len(TRACKS)), 0), [], []
    for number, sound in enumerate(pieces(), 1):
        last = number * PIECE_S == HOUR_S
        for entry in call.feed(sound, end=last):
            if entry.data and (text := json.loads(entry.data).get("text")):
                said.append((TRACKS[entry.track.number], entry.begin / SAMPLE_RATE, text))
            if entry.kind is Kind.FINAL:
                assert entry.begin == committed[entry.track.number], "finals tile, with words or without"
                committed[entry.track.number] = entry.end
        if number * PIECE_S in (HOUR_S // 3, HOUR_S):
            held.append(memory())
    call.close()
    assert said == []
    assert set(committed.values()) == {HOUR_S * SAMPLE_RATE}, "what is final need not be kept, or sent again"
    frames_of_forty_minutes = 80 * 2 * 100 * HOUR_S * 2 // 3
    assert held[1] - held[0] < frames_of_forty_minutes, "not even one track's features were kept"
