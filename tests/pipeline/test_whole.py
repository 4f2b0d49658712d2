"""The whole: real speech through real stages, in one process and through Redis, gives the same words."""

from __future__ import annotations

import json

import jiwer
import pytest

from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import transcribe
from tests.pipeline.calls import SAMPLE, oracle, sample_sound, speak, stages, texts
from tests.stack import StackProcess


def test_the_sample_is_recognised() -> None:
    """Not a measure of the model (that is the card's): a guard against a pipeline that loses or garbles words."""
    said = json.loads(SAMPLE.with_suffix(".json").read_text())
    for track in (0, 1):
        reference = " ".join(turn["text"] for turn in said if turn["track"] == track)
        hypothesis = " ".join(text for _, _, text in texts(oracle(), track))
        assert jiwer.cer(reference, hypothesis) < 0.4, hypothesis


def test_words_lie_inside_their_utterance_and_in_order() -> None:
    assert oracle()
    for final in oracle():
        assert final.text == " ".join(word.word for word in final.words)
        last = final.begin
        for word in final.words:
            assert last <= word.begin < word.end <= final.end
            assert 0 <= word.confidence <= 1
            last = word.begin


@pytest.mark.parametrize("chunk_ms", [80, 320, 640])
def test_any_chunking_gives_the_same_finals(chunk_ms: int) -> None:
    messages = transcribe(stages(), sample_sound(), chunk_ms=chunk_ms)
    finals = [wire.Final.model_validate(each) for each in messages if each["type"] == "final" and each["text"]]
    for track in (0, 1):
        assert texts(finals, track) == texts(oracle(), track)


def test_what_is_announced_as_stable_stays() -> None:
    stable: dict[tuple[int, int], str] = {}
    partials = 0
    for message in transcribe(stages(), sample_sound()):
        key = (message["track"], message["utterance"])
        if message["type"] == "partial":
            partials += 1
            promised = stable.get(key, "")
            assert message["text"].startswith(promised)
            stable[key] = message["text"][: message["stable"]]
        else:
            assert message["text"].startswith(stable.pop(key, ""))
    assert partials > 20


@pytest.mark.faults
async def test_through_redis_the_words_are_those_of_one_process(stack: StackProcess) -> None:
    finals, _ = await speak(stack.stream_url, pace=None)
    for track in (0, 1):
        assert texts(finals, track) == texts(oracle(), track), stack.last_words()
