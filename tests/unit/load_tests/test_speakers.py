"""What a caption counts for: words of a final that earlier captions show, compared as plain words."""

from __future__ import annotations

import pytest
from load_tests.speakers import Heard, Recorded, chunks

from stenoflow.protocol.messages import Final, Word
from stenoflow.text.shown import first_shown


def shown(*captions: str) -> list[float]:
    history = [(float(at), text.split()) for at, text in enumerate(captions)]
    return first_shown(history, history[-1][1])


@pytest.mark.parametrize(
    ("captions", "at"),
    [
        (["one", "one two", "one two"], [0, 1]),
        (["one", "won", "one"], [2]),  # revised in between
        (["two", "one two"], [1, 0]),  # moved, not revised
        (["", "one"], [1]),
    ],
)
def test_a_word_is_shown_from_the_first_caption_after_which_all_show_it(captions: list[str], at: list[float]) -> None:
    assert shown(*captions) == at


def test_a_second_pass_that_cases_and_punctuates_does_not_revise() -> None:
    words = (
        Word(word="hello", begin=0, end=1600, confidence=1),
        Word(word="there", begin=1600, end=3200, confidence=1),
    )
    final = Final(track=0, utterance=0, begin=0, end=4800, text="Hello, there!", words=words, confidence=1, pass_=2)
    heard = Heard(finals=[(final, [(0.5, "hello"), (1.0, "hello their"), (2.0, "Hello, there!")])])
    heard.find_words()
    assert heard.word == pytest.approx([0.4, 1.8])
    assert heard.early == pytest.approx([0.4])
    assert heard.passes == [2]


@pytest.mark.parametrize(("samples", "rate", "count"), [(1_543_680, 48_000, 201), (1_280, 8_000, 1), (1_281, 8_000, 2)])
def test_a_call_says_all_that_it_has_to_say(samples: int, rate: int, count: int) -> None:
    short, voice = Recorded(bytes(320), rate), Recorded(bytes(2 * samples), rate)
    assert chunks([short, voice]) == count
    size = rate * 160 // 1000
    assert sum(len(voice.spoken(step * size, (step + 1) * size)) for step in range(count)) == 2 * samples
