"""Times and confidences of a reading's words."""

from __future__ import annotations

import numpy as np
from tests.unit.second_pass.fake import HOP, VOCABULARY, emissions

from stenoflow.runtime.look_back import Stretch
from stenoflow_second_pass.sound import emissions_of
from stenoflow_second_pass.words import words_of

TEXT = "say yes"


def test_words_lie_where_the_first_pass_emitted_their_letters() -> None:
    heard = emissions_of([emissions(3200, 3200 + 40 * HOP, TEXT)], Stretch(3200, 32_000), 29)
    words = words_of(TEXT.split(), -0.5, heard, VOCABULARY, (0, 32_000))
    assert [(word.word, word.begin) for word in words] == [("say", 3200), ("yes", 3200 + 16 * HOP)]
    assert words[0].end <= words[1].begin
    assert all(0.9 < word.confidence <= 1 for word in words)


def test_a_word_that_the_first_pass_did_not_hear_is_less_sure() -> None:
    heard = emissions_of([emissions(0, 40 * HOP, TEXT)], Stretch(0, 40 * HOP), 29)
    say, guess = words_of(["say", "mud"], -0.5, heard, VOCABULARY, (0, 40 * HOP))
    assert guess.confidence < say.confidence
    assert abs(guess.confidence - np.exp(-0.5)) < 0.05


def test_without_emissions_words_share_the_utterance_by_their_letters() -> None:
    heard = emissions_of([], Stretch(0, 16_000), 29)
    words = words_of(["a", "longer"], -0.5, heard, VOCABULARY, (1_600, 16_000))
    assert (words[0].begin, words[1].end) == (1_600, 16_000)
    assert words[0].end == words[1].begin < 8_000


def test_more_letters_than_frames_is_no_error() -> None:
    heard = emissions_of([emissions(0, 3 * HOP, "a")], Stretch(0, 3 * HOP), 29)
    assert len(words_of(["unbelievable", "words"], -0.5, heard, VOCABULARY, (0, 3 * HOP))) == 2


def test_emissions_of_another_vocabulary_are_left_out() -> None:
    positions, frames, _ = emissions_of([emissions(0, 10 * HOP, "a")], Stretch(0, 10 * HOP), 64)
    assert len(positions) == len(frames) == 0
