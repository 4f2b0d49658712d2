"""The shipped bundle on real speech: phrases that are said are found, and hardly ever where they are not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import soundfile

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.runtime.in_process import Sound, transcribe
from tests.pipeline.calls import ROOT, sample_sound, stages

CLIPS = ROOT / "tests" / "clips"
SAID = {
    "ls-1188-133604-0010": ["principles"],
    "ls-1320-122612-0006": ["retrace our steps", "keener eyes"],
    "ls-1580-141083-0002": ["congenial surroundings", "Baker Street"],
    "ls-5142-33396-0011": ["rollers"],
    "cv-40191901": ["defendants prevailed"],
    "cv-40236302": ["Christmas fairyland"],
    "aws-demo2-001540": ["first name"],
}
"""By clip, what is said in it; "keener", "rollers" and "fairyland" are not in the lexicon."""

PHRASES = [phrase for phrases in SAID.values() for phrase in phrases]


def spotted(sound: Sound) -> list[tuple[str, float, float]]:
    """What comes out of a call with the default threshold: phrase, begin and end in seconds."""
    settings = {"spot": [{"phrase": phrase} for phrase in PHRASES]}
    messages = transcribe(stages(), [sound], settings=settings)
    return [
        (each["phrase"], each["begin"] / SAMPLE_RATE, each["end"] / SAMPLE_RATE)
        for each in messages
        if each["type"] == "spotted"
    ]


@cache
def clip(name: str) -> Sound:
    samples, rate = soundfile.read(CLIPS / f"{name}.opus", dtype="float32")
    pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes()
    return Sound("one", rate, pcm)


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_is_found_and_nothing_else(name: str) -> None:
    found = spotted(clip(name))
    assert [phrase for phrase, _, _ in found] == SAID[name]
    seconds = len(clip(name).pcm) / 2 / clip(name).sample_rate
    assert all(0 <= begin < end <= seconds for _, begin, end in found)
    assert sorted(found, key=lambda each: each[1]) == found


def test_a_minute_and_a_half_of_other_speech_fires_hardly_ever() -> None:
    others = [each for sound in sample_sound() for each in spotted(sound)]
    assert len(others) <= 1, others
