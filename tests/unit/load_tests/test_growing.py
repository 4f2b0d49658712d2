"""Whisper over a growing window: what is committed, what the window loses, and when a rung counts as held."""

from __future__ import annotations

import numpy as np
import pytest
from load_tests.growing import Agreement, Live, keeps_up

from stenoflow_second_pass.models.base import Reading


def agreement(*hypotheses: str) -> tuple[Agreement, list[str]]:
    agreed = Agreement()
    committed = [word for text in hypotheses for word in agreed.push(text.split())]
    return agreed, committed


@pytest.mark.parametrize(
    ("hypotheses", "committed"),
    [
        (["The cat"], ""),
        (["The cat", "The cat sat"], "The cat"),
        (["The cat", "The cats sat", "The cats sat on"], "The cats sat"),
        (["the cat.", "The cat, sat"], "The cat,"),  # case and punctuation do not tell words apart
        (["a b", "a b", "x b c", "x b c"], "a b c"),  # what is committed stays, and does not stop what follows
        (["a b", ""], ""),
    ],
)
def test_two_hypotheses_that_begin_alike_commit_what_they_begin_with(hypotheses: list[str], committed: str) -> None:
    assert agreement(*hypotheses)[1] == committed.split()


def test_the_end_of_speech_commits_the_rest_and_opens_a_new_window() -> None:
    agreed, committed = agreement("one two", "one two three")
    assert [*committed, *agreed.flush()] == ["one", "two", "three"]
    assert agreed.push(["one"]) == []


def test_a_window_that_is_cut_goes_on_with_its_other_words() -> None:
    agreed, _ = agreement("Yes. I do", "Yes. I do not")
    agreed.cut(agreed.cut_at(seconds=4))
    assert agreed.words == ["I", "do", "not"]
    assert agreed.push(["I", "do", "not", "know"]) == ["not"]


@pytest.mark.parametrize(
    ("hypothesis", "seconds", "count"),
    [("Yes. I do", 4, 1), ("Yes I do", 4, 0), ("Yes I do", 16, 3), ("Yes? No! I", 16, 2)],
)
def test_a_window_is_cut_after_a_sentence_or_once_it_is_long(hypothesis: str, seconds: float, count: int) -> None:
    assert agreement(hypothesis, hypothesis)[0].cut_at(seconds) == count


def test_nothing_is_decoded_while_nobody_speaks() -> None:
    class Deaf:
        def read(self, utterances: object, prompts: object) -> list[Reading]:
            raise AssertionError("nobody spoke")

    track = Live(np.zeros(32_000, np.int16), due=1.0)
    assert not track.hear(Deaf(), 32_000, 0.0)  # type: ignore[arg-type]
    assert (track.begin, track.heard_to) == (24_000, 32_000)


@pytest.mark.parametrize(
    ("first", "second", "held"),
    [
        (0.5, 0.5, True),
        (0.5, 1.1, False),  # it grows
        (1.9, 2.0, True),
        (2.1, 2.1, False),
    ],
)
def test_a_rung_is_held_while_the_delay_is_small_and_does_not_grow(first: float, second: float, held: bool) -> None:
    delays = [(float(at), first if at < 30 else second) for at in range(60)]
    assert keeps_up(delays, seconds=60) is held


def test_a_rung_that_says_nothing_in_one_half_is_not_held() -> None:
    assert not keeps_up([(1.0, 0.1)], seconds=60)
