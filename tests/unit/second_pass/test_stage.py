"""The second pass as a pure function: which sound it hears, what becomes of a draft, and what stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.second_pass.fake import (
    KEY,
    VOCABULARY,
    FakeModel,
    audio,
    draft,
    emissions,
    over,
    said,
    stretch_sound,
)

from stenoflow.bus.entry import Entry, Kind, Mark, MarkKind
from stenoflow.protocol.messages import Final
from stenoflow.runtime.look_back import MARGIN, Stretch
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow_second_pass.models.base import Reading
from stenoflow_second_pass.stage import SecondPassStage, SecondPassState


def opened(stage: SecondPassStage, *, rate: int = 16_000, **settings: object) -> SecondPassState:
    tail = Entry(KEY, Kind.OPENING, 0, 0)
    return stage.open(Track(KEY, 0, rate, settings, "fake"), ResumeFrom(tail))


def step(stage: SecondPassStage, state: SecondPassState, entries: Sequence[Entry]) -> Step:
    return stage.step([(state, entries)])[0]


def final_of(entry: Entry) -> Final:
    return Final.model_validate_json(entry.data)


def test_an_utterance_is_heard_where_its_draft_lies_and_keeps_its_place_and_its_marks() -> None:
    model = FakeModel()
    stage = SecondPassStage(model, VOCABULARY)
    marks = (Mark(MarkKind.QUALITY, 20_000, "features", 1),)
    entries = [
        audio(0, 16_000),
        audio(16_000, 48_000),
        emissions(12_800, 38_400, "sound a"),
        draft(16_000, 32_000, "sund", 3, marks=marks),
    ]
    made = step(stage, opened(stage), entries)
    [entry] = made.entries
    final = final_of(entry)
    wanted = stretch_sound(Stretch(16_000, 32_000))
    np.testing.assert_array_equal(model.heard[0], wanted)
    assert (final.text, final.pass_, final.utterance) == (said(wanted), 2, 3)
    assert (entry.begin, entry.end, entry.restart, entry.marks) == (16_000, 32_000, 32_000, marks)
    assert (made.restart, made.position) == (32_000, 32_000)
    assert [word.word for word in final.words] == said(wanted).lower().strip(".").split()
    assert all(16_000 <= word.begin <= word.end <= 32_000 for word in final.words)


def test_a_segment_is_heard_from_a_little_before_it_begins() -> None:
    stage = SecondPassStage(FakeModel(), VOCABULARY)
    marks = (
        Mark(MarkKind.SEGMENT_BEGIN, 20_000, "features", 1),
        Mark(MarkKind.SEGMENT_END, 30_000, "features", 2),
    )
    assert stage.wants(draft(0, 30_000, "a", marks=marks)) == Stretch(20_000 - MARGIN, 30_000)
    assert stage.wants(draft(0, 30_000, "", marks=marks)) is None
    assert stage.wants(audio(0, 30_000)) is None


def test_behind_a_forced_cut_the_last_word_before_it_is_not_heard_again() -> None:
    stage = SecondPassStage(FakeModel(), VOCABULARY)
    marks = (Mark(MarkKind.SEGMENT_BEGIN, 320_000, "features", 3),)
    assert stage.wants(draft(320_000, 350_000, "a", marks=marks)) == Stretch(320_000, 350_000)


def test_telephone_sound_is_heard_at_16_khz() -> None:
    model = FakeModel()
    stage = SecondPassStage(model, VOCABULARY)
    state = opened(stage, rate=8_000)
    step(stage, state, [audio(0, 16_000), draft(0, 32_000, "a")])
    assert len(model.heard[0]) == 32_000


@pytest.mark.parametrize(
    "sound",
    [
        [],
        [audio(20_000, 48_000)],  # its begin is trimmed
        [audio(0, 20_000), audio(24_000, 48_000)],  # a piece is lost
    ],
)
def test_without_its_sound_the_draft_is_final_and_says_that_nobody_heard_it(sound: list[Entry]) -> None:
    model = FakeModel()
    stage = SecondPassStage(model, VOCABULARY)
    made = step(stage, opened(stage), [*sound, draft(16_000, 32_000, "as it was")])
    assert (final_of(made.entries[0]).text, final_of(made.entries[0]).pass_) == ("as it was", 1)
    assert "unheard" in made.entries[0].carry
    assert not model.heard


def test_a_draft_without_words_goes_through_unheard_and_is_no_sign_of_haste() -> None:
    model = FakeModel()
    stage = SecondPassStage(model, VOCABULARY)
    silence = draft(0, 32_000, "")
    made = step(stage, opened(stage), [silence])
    assert made.entries[0].data == silence.data
    assert made.entries[0].carry == {}
    assert not model.heard


def test_what_looks_invented_is_refused_and_the_draft_stands() -> None:
    model = FakeModel(answer=lambda sound: Reading("Thank you for watching!", -0.2, 5, True))
    stage = SecondPassStage(model, VOCABULARY)
    made = step(stage, opened(stage), [audio(0, 48_000), draft(0, 32_000, "hold the line")])
    assert (final_of(made.entries[0]).text, final_of(made.entries[0]).pass_) == ("hold the line", 1)
    assert made.entries[0].carry == {}, "the second pass kept up"


def test_the_end_passes_through_and_nothing_follows_it() -> None:
    stage = SecondPassStage(FakeModel(), VOCABULARY)
    state = opened(stage)
    made = step(stage, state, [draft(0, 32_000, ""), over(32_000), draft(32_000, 33_000, "")])
    assert [entry.ends for entry in made.entries] == [False, True]


def test_phrases_of_the_session_reach_the_model() -> None:
    model = FakeModel()
    stage = SecondPassStage(model, VOCABULARY)
    weights = {"Stenoflow": 1.0, "Ada Lovelace": 1.0, "Somebody": 0.0}
    state = opened(stage, boost=[{"phrase": phrase, "weight": weight} for phrase, weight in weights.items()])
    step(stage, state, [audio(0, 48_000), draft(0, 32_000, "a")])
    assert model.prompts == ["Stenoflow, Ada Lovelace"]


def test_calls_keep_their_own_words_in_one_batch() -> None:
    model = FakeModel(batch=8)
    stage = SecondPassStage(model, VOCABULARY)
    batch = []
    for number in range(4):
        entries = [audio(0, 64_000), draft(0, 16_000 * (number + 1), "a", number)]
        batch.append((opened(stage), entries))
    for number, made in enumerate(stage.step(batch)):
        assert final_of(made.entries[0]).text == said(stretch_sound(Stretch(0, 16_000 * (number + 1))))
        assert final_of(made.entries[0]).utterance == number
