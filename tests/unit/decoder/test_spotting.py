"""Spotting against a path search written out plainly, and what must hold of the events whatever happens."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decoder.calls import HOP, Call, Log, essence, run, tail_of
from tests.unit.decoder.small import BLANK, SEPARATOR, SYMBOLS, Frames, noise, silence, speech, without_words

from stenoflow.bus.entry import EntryId, MarkKind
from stenoflow.runtime.spotted import Occurrence, spotted_messages
from stenoflow_decoder.spotting import SpotPhrases, Spotter
from stenoflow_decoder.stage import DecoderStage

MODEL = without_words(width=8, score_margin=10.0)
NAMES = ("cab ab", "bacb", "abba")
S = 16_000


def spot(frames: Frames, *phrases: str, threshold: float = 0.8) -> list[Occurrence]:
    spotter = Spotter(SpotPhrases.of([(phrase, threshold) for phrase in phrases], MODEL))
    heard = [each for at, frame in enumerate(frames) for each in spotter.hear(frame, at * HOP, HOP)]
    return heard + spotter.finish()


def best_score(frames: Frames, phrase: str) -> float:
    """The best score of a phrase that takes up the whole stretch, over all paths."""
    tokens = [SYMBOLS.index(symbol) for symbol in phrase]
    best = math.inf
    for path in itertools.product(sorted({BLANK, *tokens}), repeat=len(frames)):
        if [token for token, _ in itertools.groupby(path) if token != BLANK] == tokens:
            best = min(best, sum(float(frame.max() - frame[token]) for frame, token in zip(frames, path, strict=True)))
    return math.exp(-best / len(tokens))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("phrase", ["ab", "aa", "a b"])
def test_a_score_is_that_of_the_best_path(seed: int, phrase: str) -> None:
    frames = noise(seed, 6)
    frames[:, SEPARATOR] -= 9.0  # never the edge of a word, and dear inside a phrase
    occurrences = spot(frames, phrase, threshold=1e-9)
    assert [each.score for each in occurrences] == [pytest.approx(best_score(frames, phrase), abs=1e-3)]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_said_is_found_where_it_is_said(seed: int) -> None:
    frames = speech("abba cab ab a bacb cc", seed, doubt=1.0)
    occurrences = spot(frames, *NAMES)
    assert sorted(each.phrase for each in occurrences) == sorted(NAMES)
    begins = {each.phrase: each.begin for each in occurrences}
    assert begins["abba"] < begins["cab ab"] < begins["bacb"]
    for each in occurrences:
        at = slice(each.begin // HOP, each.end // HOP)
        letters = {int(token) for token in frames[at].argmax(axis=1)} - {BLANK}
        assert frames[each.begin // HOP].argmax() == SYMBOLS.index(each.phrase[0])
        assert letters == {SYMBOLS.index(letter) for letter in each.phrase}


@pytest.mark.parametrize("text", ["cabab", "cab abab", "bacba", "ccab ab", "abbab bacbc abb a", "cab", "ab cab"])
def test_what_is_not_said_as_a_whole_word_is_not_found(text: str) -> None:
    for seed in range(5):
        assert spot(speech(text, seed, doubt=0.5), *NAMES) == []


def test_every_occurrence_fires_once() -> None:
    frames = speech("ab ab cab ab abba ab", 3, doubt=0.7)
    assert [each.phrase for each in spot(frames, "ab")] == ["ab"] * 4
    assert spot(np.concatenate([frames, silence(200)]), "ab") == spot(frames, "ab")


def test_a_higher_threshold_finds_less() -> None:
    frames = speech("ab cab abba bacb a ab cc", 4, doubt=3.5)
    found = [len(spot(frames, "ab", "cab", "abba", "a", threshold=limit)) for limit in (0.05, 0.3, 0.6, 0.999)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


def test_what_cannot_be_spelled_is_left_out_and_nothing_costs_nothing() -> None:
    assert SpotPhrases.of([("Boeing 737", 0.5), ("!?", 0.5)], MODEL).names == ()
    assert spot(speech("ab"), "737") == []


# ---------------------------------------------------------------- in the stage

SPOT = [{"phrase": "Cab ab", "threshold": 0.8}, {"phrase": "abba", "threshold": 0.8}]


@pytest.fixture(scope="module")
def stage() -> DecoderStage:
    return DecoderStage(MODEL)


def talk() -> Call:
    call = Call().say("a cab ab a", 1).quiet(S).say("abba cab", 2)
    call.mark(MarkKind.CONFIGURE, spot=[{"phrase": "cab"}])
    call.quiet(3 * S).say("cab abba", 3).mark(MarkKind.FINALIZE)
    return call.say("cab a cab", 4).mark(MarkKind.END)


def told(log: Log) -> list[tuple[str, int, int]]:
    return [(each.phrase, each.begin, each.end) for _, entry in log for each in spotted_messages(1, entry.marks)]


def test_occurrences_travel_in_the_entry_of_their_utterance_and_change_no_final(stage: DecoderStage) -> None:
    log, steps, _ = run(stage, talk().log([8]), spot=SPOT)
    without, _, _ = run(stage, Call(talk().pieces, [m for m in talk().marks if not m.fields], talk().end).log([8]))
    assert [entry.data for _, entry in log] == [entry.data for _, entry in without]
    assert [phrase for phrase, _, _ in told(log)] == ["Cab ab", "abba", "cab", "cab", "cab"]
    for _, entry in log:
        for each in spotted_messages(1, entry.marks):
            assert entry.begin <= each.begin < each.end <= entry.end
    live = [mark for step in steps for mark in step.live_marks]
    assert live == [mark for _, entry in log for mark in entry.marks if mark.kind is MarkKind.SPOTTED]
    first = next(n for n, step in enumerate(steps) if step.live_marks)
    assert not any(step.entries for step in steps[: first + 1]), "watchers hear of it before the utterance ends"


@settings(deadline=None, max_examples=10)
@given(chunks=st.lists(st.integers(1, 60), min_size=1, max_size=4), data=st.data())
def test_neither_chunks_nor_deaths_double_or_lose_an_occurrence(
    stage: DecoderStage, chunks: list[int], data: st.DataObject
) -> None:
    whole, _, _ = run(stage, talk().log([1000]), spot=SPOT)
    news = talk().log(chunks)
    log, _, _ = run(stage, news, spot=SPOT)
    assert essence(log) == essence(whole)
    appended = data.draw(st.integers(0, len(whole) - 1))
    tail = tail_of(whole[:appended])
    kept = [item for item in news if item[0] > EntryId(tail.entry.restart, 0)]
    again, _, _ = run(stage, kept, tail, spot=SPOT)
    assert essence(whole[:appended] + again) == essence(whole)


def test_other_phrases_in_the_middle_of_an_utterance(stage: DecoderStage) -> None:
    frames = speech("ab cab ab cab", 1, 0.5)
    middle = int(np.argmax(frames.argmax(axis=1) == SYMBOLS.index("c"))) * HOP
    call = Call().segment(frames).mark_at(middle - HOP, MarkKind.CONFIGURE, spot=[{"phrase": "cab"}])
    log, _, _ = run(stage, call.log([5]), spot=[{"phrase": "ab"}])
    assert [phrase for phrase, _, _ in told(log)] == ["ab", "cab", "cab"]
