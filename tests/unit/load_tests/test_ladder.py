"""A ladder ends at the first rung that is not held; calls hold whole clips only."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from load_tests.bench_word_times import Placed, agreeing
from load_tests.conversations import Clip, Turn, conversation, first_texts, while_speaking
from load_tests.no_words import SOUNDS, wordless
from load_tests.rungs import climb
from load_tests.second_pass_capacity import Promise
from load_tests.speakers import Heard, Shown

from stenoflow.protocol.messages import Final, Word


@pytest.mark.parametrize(("most", "kept", "tried"), [(5, 4, [2, 4, 8]), (1, 0, [2]), (100, 16, [2, 4, 8, 16])])
async def test_the_last_rung_before_the_first_that_fails_counts(most: int, kept: int, tried: list[int]) -> None:
    seen: list[int] = []

    async def rung(tracks: int) -> bool:
        seen.append(tracks)
        return tracks <= most

    assert await climb([2, 4, 8, 16], rung) == kept
    assert seen == tried


def test_a_rung_without_words_keeps_no_promise() -> None:
    assert not Promise().kept([Heard()], Counter())


def a_call(early: float, finals: int) -> Heard:
    word = Word(word="yes", begin=0, end=1600, confidence=1)
    final = Final(track=0, utterance=0, begin=0, end=1600, text="Yes.", words=(word,), confidence=1, pass_=2)
    return Heard(early=[early], finals=[(final, [])] * finals)


@pytest.mark.parametrize(
    ("early", "unheard", "refused", "without", "kept"),
    [
        (0.9, 0, 0, 0, True),
        (1.1, 5, 50, 0, True),
        (1.2, 0, 0, 0, False),
        (0.9, 6, 0, 0, False),
        (0.9, 0, 0, 6, False),  # of calls for which the second pass had no place: it saw nothing of them
        (0.9, 3, 0, 3, False),
    ],
)
def test_a_rung_is_held_near_the_floor_with_utterances_heard(
    early: float, unheard: int, refused: int, without: int, kept: bool
) -> None:
    promise = Promise()
    assert promise.kept([a_call(0.85, 10)], Counter(heard=10))
    counted = Counter(heard=100 - unheard - refused - without, unheard=unheard, unsure=refused)
    assert promise.kept([a_call(early, 100)], counted) is kept


def test_sides_take_turns_with_whole_clips() -> None:
    clip = Clip(np.full(16_000, 3000, "<i2").tobytes(), "hello")
    sides = conversation([clip], seed=0, seconds=10)
    turns = sorted((turn.begin, turn.end, side) for side, one in enumerate(sides) for turn in one.turns)
    assert [turn[2] for turn in turns] == [0, 1] * (len(turns) // 2) + [0] * (len(turns) % 2)
    assert all(end < after for (_, end, _), (after, _, _) in pairwise(turns))
    heard = sum(np.count_nonzero(np.frombuffer(side.pcm, "<i2")) for side in sides)
    assert heard == 16_000 * len(turns)


def test_the_first_text_of_a_turn_is_about_sound_of_that_turn() -> None:
    turns = [Turn(1.0, 2.0, "one"), Turn(5.0, 6.0, "two")]
    history = [
        Shown(1.5, 1.4, 0),
        Shown(1.8, 1.6, 1),
        Shown(5.2, 2.0, 1),  # late news of the first turn
        Shown(5.9, 5.8, 1),
    ]
    assert first_texts(turns, history) == pytest.approx([0.8, 0.9])
    assert while_speaking(turns, [(0.5, 9.0), (1.5, 0.1), (4.0, 9.0), (5.5, 0.2)]) == [0.1, 0.2]


def test_only_words_on_which_both_agree_are_compared() -> None:
    right = [Placed("the", 0.0, 0.1), Placed("cat", 0.2, 0.4), Placed("sat", 0.5, 0.7)]
    heard = [Placed("a", 0.0, 0.1), Placed("cat", 0.3, 0.5), Placed("uh", 0.5, 0.5), Placed("sat", 0.6, 0.7)]
    assert [(one.word, other.begin) for one, other in agreeing(right, heard)] == [("cat", 0.3), ("sat", 0.6)]
    assert agreeing(right, []) == []


def test_sounds_without_words_are_as_long_and_loud_as_asked() -> None:
    sounds = dict(wordless(1.0))
    assert len(sounds) == SOUNDS
    assert {len(pcm) for pcm in sounds.values()} == {32_000}
    noise = np.frombuffer(sounds["pink noise -40 dB"], "<i2") / 32768
    assert 20 * np.log10(noise.std()) == pytest.approx(-40, abs=0.5)
