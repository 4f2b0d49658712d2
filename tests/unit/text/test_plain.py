"""Plain words: two right spellings of one sentence become the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenoflow.text.plain import plain_text, plain_words


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("Hello, Mr. O'Neil!", "hello mr o'neil"),
        ("I don’t ‘know’ -- really?", "i don't know really"),
        ("20 of 100", "twenty of one hundred"),
        (
            "It costs $1,250.50 or £3.01.",
            "it costs one thousand two hundred fifty dollars fifty cents or three pounds one pence",
        ),
        ("$5 million and €1", "five million dollars and one euro"),
        (
            "$1.5 million, £12.50 billion or $5.5",
            "one point five million dollars twelve point five zero billion pounds or five point five dollars",
        ),
        ("at 3:05 or 12:00", "at three oh five or twelve"),
        ("the 21st, the 100th", "the twenty first the one hundredth"),
        (
            "in 1984 and 2012 and 1900, not 2005",
            "in nineteen eighty four and twenty twelve and nineteen hundred not two thousand five",
        ),
        ("the 1990s", "the nineteen nineties"),
        ("3.14 and .5", "three point one four and point five"),
        ("3½ hours, ¾ done, 2 ¼%", "three and a half hours three quarters done two and a quarter percent"),
        ("12% & 7 °", "twelve percent and seven degrees"),
        ("2,000,000", "two million"),
        ("code 0042, call 5551234", "code zero zero four two call five five five one two three four"),
        ("Café", "cafe"),
        ("", ""),
    ],
)
def test_what_is_written_becomes_what_is_said(written: str, plain: str) -> None:
    assert plain_text(written) == plain


@given(st.text(max_size=60))
def test_anything_becomes_plain_words_and_plain_words_stay(text: str) -> None:
    once = plain_text(text)
    assert set(once) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert plain_text(once) == once
    assert once.split() == plain_words(text)
