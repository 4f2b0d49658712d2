"""What is believed of a reading, and what is not."""

from __future__ import annotations

import math

import pytest

from stenoflow_second_pass.guard import Refusal, refusal
from stenoflow_second_pass.models.base import Reading


def reading(text: str, log_prob: float = -0.2, *, finished: bool = True) -> Reading:
    return Reading(text, log_prob, len(text.split()), finished)


@pytest.mark.parametrize(
    ("text", "draft", "seconds"),
    [
        ("Hello, how can I help you today?", "hello how cn i help you to day", 2.5),
        ("Yes.", "es", 0.4),
        ("Thank you.", "hank you", 0.8),
        ("Bye-bye.", "by by", 0.8),
        ("No, no, no.", "no no no", 1.0),
        ("I owe you $1,250.", "i o you twelve fifty", 2.0),
        ("Very, very good. It is very good.", "very good", 2.5),
    ],
)
def test_what_people_say_is_believed(text: str, draft: str, seconds: float) -> None:
    assert refusal(reading(text), draft, seconds) is None


@pytest.mark.parametrize(
    ("given", "draft", "seconds", "reason"),
    [
        (reading(""), "hello", 1.0, Refusal.EMPTY),
        (reading("..."), "hello", 1.0, Refusal.EMPTY),
        (reading("hello there", finished=False), "hello", 1.0, Refusal.UNFINISHED),
        (reading("hello there", -1.3), "hello", 1.0, Refusal.UNSURE),
        (reading("hello there", math.nan), "hello", 1.0, Refusal.UNSURE),
        (reading("one two three four five six seven eight nine ten"), "one", 1.0, Refusal.TOO_MANY_WORDS),
        (reading("the bank the bank the bank the bank"), "the bank", 5.0, Refusal.REPEATED),
        (reading("I said no no no no no"), "no", 5.0, Refusal.REPEATED),
        (reading("Thanks for watching!"), "uh", 3.0, Refusal.STOCK_PHRASE),
        (reading("Thank you."), "sh", 3.0, Refusal.STOCK_PHRASE),
    ],
)
def test_what_looks_invented_is_refused(given: Reading, draft: str, seconds: float, reason: Refusal) -> None:
    assert refusal(given, draft, seconds) is reason
