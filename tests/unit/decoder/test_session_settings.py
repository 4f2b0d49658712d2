"""What a session may ask of the decoder: defaults, endpointing, alternatives, and changes in the middle of speech."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decoder.calls import HOP, Call, essence, run, said, tail_of
from tests.unit.decoder.small import EXACT, load, noise, phrases_score, searched, silence, speech, with_words

from stenoflow.bus.entry import EntryId, MarkKind
from stenoflow.protocol.messages import Start, TrackRequest
from stenoflow_decoder.endpoint import Rules
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch
from stenoflow_decoder.session_settings import SettingsReader
from stenoflow_decoder.stage import DecoderStage
from stenoflow_gateway.session.opening import settings_of

S = 16_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> DecoderStage:
    return DecoderStage(with_words(load(tmp_path_factory.mktemp("lm")), width=8, unknown_score=-10.0))


def test_a_session_that_asks_for_nothing_gets_the_defaults_of_the_protocol(stage: DecoderStage) -> None:
    start = Start(tracks=(TrackRequest(name="a", sample_rate=8000),))
    read = SettingsReader(stage.model).read
    asked, nothing = read(settings_of(start)), read({})
    assert asked.rules == nothing.rules == Rules()
    assert (asked.partials, asked.alternatives, asked.lm_weight) == (True, 0, 1.0)
    assert len(asked.phrases.earned) == 1 and asked.spots.names == ()


def test_phrases_that_sessions_share_are_built_once(stage: DecoderStage) -> None:
    reader = SettingsReader(stage.model)
    one, two = (reader.read({"boost": [{"phrase": "bacb"}], "spot": [{"phrase": "ab"}]}) for _ in range(2))
    assert one.phrases is two.phrases and one.spots is two.spots


@pytest.mark.parametrize(("asked", "texts"), [({}, ["cab ab"]), ({"silence_after_words_ms": 1000}, ["cab", "ab"])])
def test_silence_after_words_is_the_sessions(stage: DecoderStage, asked: dict[str, int], texts: list[str]) -> None:
    frames = np.concatenate([speech("cab ", 1, 0.3), silence(100), speech("ab", 2, 0.3)])
    log, _, _ = run(stage, Call().segment(frames).log([8]), endpointing=asked)
    assert [final["text"] for final in said(log)] == texts


@pytest.mark.parametrize(("asked", "ends"), [({}, [2, 4]), ({"silence_without_words_ms": 1000}, [1, 2, 3, 4])])
def test_silence_without_words_is_the_sessions(stage: DecoderStage, asked: dict[str, int], ends: list[int]) -> None:
    log, _, _ = run(stage, Call().quiet(4 * S).log([25]), endpointing=asked)
    assert [entry.end for _, entry in log] == [end * S for end in ends]


def test_alternatives_come_on_request_and_change_no_caption(stage: DecoderStage) -> None:
    call = Call().say("ab cab abba", 2, 2.5).say("baba a cab", 5, 2.5)
    without, _, _ = run(stage, call.log([8]))
    log, _, _ = run(stage, call.log([8]), alternatives=4)
    assert [final["alternatives"] for final in said(without)] == [[], []]
    for final, bare in zip(said(log), said(without), strict=True):
        assert {**final, "alternatives": []} == bare
        texts = [other["text"] for other in final["alternatives"]]
        assert len(texts) == 4 == len({*texts, final["text"]} - {final["text"]})
        scores = [other["score"] for other in final["alternatives"]]
        assert scores == sorted(scores, reverse=True) and scores[-1] < 0
    first_words = [
        (final["text"].split()[0], other["text"].split()[0]) for final in said(log) for other in final["alternatives"]
    ]
    assert any(own != other for own, other in first_words), "not only the last words differ"


def test_the_language_models_weight_is_the_sessions(stage: DecoderStage, tmp_path: Path) -> None:
    """With no weight it reads like a model without; with the default, as the bundle has it."""
    model = with_words(load(tmp_path))
    for seed in range(8):
        frames = speech("ab abba cab", seed, 3.5)
        for factor in (0.0, 0.5, 2.0):
            other = replace(model, options=replace(model.options, lm_weight=model.options.lm_weight * factor))
            weighed = BeamSearch(model, (), None, factor)
            weighed.push(frames)
            assert weighed.readings() == searched(other, frames).readings()


def busy_call() -> Call:
    call = Call().segment(speech("ab bacb cab", 2, 2.0))
    middle = call.end // 2 // HOP * HOP
    call.mark_at(middle, MarkKind.CONFIGURE, boost=[{"phrase": "cab", "weight": 2.0}], lm_weight=0.5)
    call.mark(MarkKind.CONFIGURE, boost=[{"phrase": "Bacb", "weight": 1.0}]).quiet(S).say("bacb a", 5, 2.0)
    call.mark(MarkKind.CONFIGURE, partials=False, boost=[]).quiet(3 * S).say("ab bacb cab", 2, 2.0)
    call.mark(MarkKind.CONFIGURE, endpointing={"silence_without_words_ms": 500}, partials=True)
    return call.quiet(2 * S).say("cab", 7).mark(MarkKind.END)


@settings(deadline=None, max_examples=10)
@given(chunks=st.lists(st.integers(1, 60), min_size=1, max_size=4), data=st.data())
def test_a_worker_that_dies_after_a_configure_is_followed_by_one_with_its_settings(
    stage: DecoderStage, chunks: list[int], data: st.DataObject
) -> None:
    whole, _, _ = run(stage, busy_call().log([1000]))
    news = busy_call().log(chunks)
    log, _, _ = run(stage, news)
    assert essence(log) == essence(whole)
    for appended in range(len(whole)):
        tail = tail_of(whole[:appended])
        kept = [item for item in news if item[0] > EntryId(tail.entry.restart, 0)]
        again, _, track = run(stage, kept, tail)
        assert essence(whole[:appended] + again) == essence(whole)
        assert track.state.settings.partials and track.state.settings.rules.without_words == S // 2


def test_phrases_change_from_the_next_sample_on(stage: DecoderStage) -> None:
    log, _, _ = run(stage, busy_call().log([8]))
    texts = [final["text"] for final in said(log) if final["text"]]
    assert texts[1] == "bacb a", "expected by then"
    assert "bacb" not in texts[2].split(), "and not any more"


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), at=st.integers(0, 5), data=st.data())
def test_what_was_earned_stays_and_what_comes_later_earns_by_the_new_phrases(
    seed: int, at: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By brute force: nothing is ever left over of a phrase that was begun and given up, and nothing is taken back."""
    model = with_words(load(tmp_path_factory.getbasetemp()), width=3000, **EXACT)
    weights = st.dictionaries(st.sampled_from(["a", "ab", "a b", "cc", "b a", "ca"]), st.sampled_from([1.0, 3.0]))
    before, after = data.draw(weights), data.draw(weights)
    frames = noise(seed, 5)
    frames[:, 4] -= 9.0
    plain = {reading.text: reading.score for reading in searched(model, frames).readings()}
    search = searched(model, frames[:at], phrases=Phrases.of(before.items(), model))
    search.configure(Phrases.of(after.items(), model), 1.0)
    search.push(frames[at:])
    for reading in search.readings():
        extra = reading.score - plain[reading.text]
        words = reading.text.split()
        # The words that were over when the phrases changed earned by the old ones; which those are, the path decides.
        possible: list[Any] = [_earned_in_two(model, words, cut, before, after) for cut in range(len(words) + 1)]
        low, high = min(possible), max(possible)
        assert low - 1e-3 <= extra <= high + 1e-3, (reading.text, extra, possible)


def _earned_in_two(model: Any, words: list[str], cut: int, before: dict[str, float], after: dict[str, float]) -> float:
    """What a text earns whose first ``cut`` words were over when the phrases changed."""
    first = phrases_score(model, " ".join(words[:cut]), before)
    walk = phrases_score(model, " ".join(words), after) - phrases_score(model, " ".join(words[:cut]), after)
    return first + walk
