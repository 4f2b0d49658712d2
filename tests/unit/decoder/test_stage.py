"""The stage: the same finals whatever the chunking and the deaths, and no word lost at an endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decoder.calls import HOP, Call, essence, fresh_tail, run, said, start, tail_of
from tests.unit.decoder.small import SYMBOLS, load, silence, speech, with_words

from stenoflow.bus.entry import Entry, EntryId, Kind, MarkKind, Span
from stenoflow.protocol.messages import Final, Partial, parse_server
from stenoflow_decoder.stage import DecoderStage

S = 16_000
MS = 16
BOOST = [{"phrase": "Cab ab", "weight": 2.0}, {"phrase": "cc"}, {"phrase": "baba a cab", "weight": 1.0}]
EXPECTED = pytest.mark.parametrize("boost", [[], BOOST], ids=["no phrases", "phrases"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> DecoderStage:
    return DecoderStage(with_words(load(tmp_path_factory.mktemp("lm")), width=8))


def busy_call() -> Call:
    """Speech, silence of all lengths, noise, settings that change, marks that meet at one position."""
    call = Call().quiet(700).say("cab ab", 1)
    call.quiet(5 * S + 160).say("abba cab a", 2, doubt=1.5).mark(MarkKind.QUALITY, "features", level=-20)
    call.quiet(HOP).say("baba", 3, doubt=1.5)
    call.mark(MarkKind.CONFIGURE, endpointing={"trailing_silence_ms": 1500, "max_utterance_s": 6})
    call.quiet(3 * S).segment(np.concatenate([speech("cab ab", 4), silence(160), speech("abba", 5)]), remainder=130)
    call.mark(MarkKind.FINALIZE).mark(MarkKind.FINALIZE)
    call.segment(silence(140))
    call.segment(speech(" ".join(["cab", "ab", "abba", "a"] * 16), 6))
    call.mark(MarkKind.PAUSE).quiet(1000)
    middle = call.end
    call.say("ab cab", 7)
    call.mark_at(middle + 500, MarkKind.QUALITY, "features", level=-30)
    return call.mark(MarkKind.END)


def check(log: list[tuple[EntryId, Entry]], call: Call) -> None:
    """Finals tile, numbers count, words lie inside, every mark comes through once and in order."""
    position = number = 0
    for _, entry in log:
        assert entry.begin == position and entry.kind is Kind.FINAL and entry.restart == entry.end
        position = entry.end
        final = Final.model_validate_json(entry.data)
        assert (final.begin, final.end, final.track, final.utterance) == (entry.begin, entry.end, 1, number)
        assert " ".join(word.word for word in final.words) == final.text
        assert all(entry.begin <= word.begin < word.end <= entry.end for word in final.words)
        assert all(entry.begin <= mark.at <= entry.end for mark in entry.marks)
        number += bool(final.text)
    assert position == call.end
    marks = [mark for _, entry in log for mark in entry.marks]
    assert marks == sorted(call.marks, key=lambda mark: mark.at)


def test_a_call_from_begin_to_end(stage: DecoderStage) -> None:
    call = busy_call()
    log, _, track = run(stage, call.log([8]))
    check(log, call)
    assert track.over and str(log[-1][0]).count("18446744073709551615") == 2
    texts = [final["text"] for final in said(log)]
    assert texts[0] == "cab ab" and texts[-2] == "ab cab" and texts[-1] == ""


@EXPECTED
@settings(deadline=None, max_examples=15)
@given(chunks=st.lists(st.integers(1, 70), min_size=1, max_size=5))
def test_chunking_changes_no_byte_of_the_finals(
    stage: DecoderStage, boost: list[dict[str, object]], chunks: list[int]
) -> None:
    call = busy_call()
    whole, _, _ = run(stage, call.log([100_000]), boost=boost)
    check(whole, call)
    log, _, _ = run(stage, call.log(chunks), boost=boost)
    assert essence(log) == essence(whole)


@settings(deadline=None, max_examples=15)
@given(chunks=st.lists(st.integers(1, 70), min_size=1, max_size=5))
def test_chunking_changes_nothing_of_what_is_spotted(stage: DecoderStage, chunks: list[int]) -> None:
    """Rules cut the long utterance of the call between words and inside of phrases."""
    call, spot = busy_call(), [{"phrase": "cab ab"}, {"phrase": "ab abba a cab"}, {"phrase": "a"}]
    whole, _, _ = run(stage, call.log([100_000]), spot=spot)
    told = [(entry, mark) for _, entry in whole for mark in entry.marks if mark.kind is MarkKind.SPOTTED]
    assert len(told) > 20
    for entry, mark in told:
        occurrences = mark.fields["occurrences"]
        assert all(entry.begin <= each["begin"] < each["end"] <= entry.end for each in occurrences)
    log, _, _ = run(stage, call.log(chunks), spot=spot)
    assert essence(log) == essence(whole)


@EXPECTED
@settings(deadline=None, max_examples=10)
@given(chunks=st.lists(st.integers(1, 40), min_size=1, max_size=3), data=st.data())
def test_a_fresh_worker_makes_the_same_finals(
    stage: DecoderStage, boost: list[dict[str, object]], chunks: list[int], data: st.DataObject
) -> None:
    """Dies after any step, before or after its append, and the input may be trimmed to the restart point."""
    call = busy_call()
    news = call.log(chunks)
    whole, _, _ = run(stage, news, boost=boost)
    for _ in range(3):
        appended = data.draw(st.integers(0, len(whole) - 1))
        tail = tail_of(whole[:appended])
        kept = [item for item in news if item[0] > EntryId(tail.entry.restart, 0)]
        again, _, _ = run(stage, kept, tail, boost=boost)
        assert essence(whole[:appended] + again) == essence(whole)


def test_a_phrase_of_the_session_is_heard_in_every_utterance(tmp_path: Path) -> None:
    stage = DecoderStage(with_words(load(tmp_path), unknown_score=-10.0))
    call = Call().say("ab bacb cab", 2, 2.0).say("bacb a", 5, 2.0)
    without, _, _ = run(stage, call.log([8]))
    assert not any("bacb" in final["text"].split() for final in said(without))
    log, _, _ = run(stage, call.log([8]), boost=[{"phrase": "Bacb"}])
    assert [final["text"] for final in said(log)] == ["ab bacb cab", "bacb a"]


def test_settings_in_force_survive_a_death(stage: DecoderStage) -> None:
    call = Call().mark(MarkKind.CONFIGURE, endpointing={"trailing_silence_ms": 2000}, partials=False)
    call.say("ab", 1).segment(np.concatenate([speech("cab", 2, 0.3), silence(130), speech(" a", 3, 0.3)]))
    news = call.log([10])
    log, _, _ = run(stage, news)
    assert [final["text"] for final in said(log)] == ["ab", "cab a"]
    again, steps, _ = run(stage, [i for i in news if i[0] > EntryId(log[0][1].end, 0)], tail_of(log[:1]))
    assert essence(again) == essence(log[1:])
    assert all(step.live is None for step in steps)


def test_words_before_an_utterance_decide_its_first_word(tmp_path: Path) -> None:
    """After "ab" the n-gram expects "abba"; a fresh track's first word is scored after the sentence's start."""
    stage = DecoderStage(with_words(load(tmp_path), lm_weight=3.0))
    undecided = speech("ab", 1, 0.2)
    log, _, track = run(stage, Call().segment(speech("ab", 1, 0.2)).segment(undecided).log([5]))
    assert log[0][1].carry["words"] == ["ab"]
    assert track.state.previous == ("ab", said(log)[1]["text"])


@pytest.mark.parametrize("quiet_s", [1, 2, 7, 61])
def test_silence_moves_committed_every_two_seconds(stage: DecoderStage, quiet_s: int) -> None:
    log, steps, _ = run(stage, Call().quiet(quiet_s * S).log([8]))
    assert [entry.end for _, entry in log] == [2 * S * (n + 1) for n in range(quiet_s // 2)]
    assert all(not final["text"] and final["utterance"] == 0 for final in said(log))
    assert all(step.live is None for step in steps)
    assert steps[-1].position == quiet_s * S


def test_noise_that_the_detector_takes_for_speech_gives_no_words_and_moves_committed(stage: DecoderStage) -> None:
    log, _, _ = run(stage, Call().segment(silence(500)).log([8]))
    assert [entry.end for _, entry in log] == [2 * S, 4 * S, 6 * S, 8 * S, 10 * S]
    assert not any(final["text"] for final in said(log))


def test_blanks_inside_a_segment_end_the_utterance_after_the_rule(stage: DecoderStage) -> None:
    first = speech("cab ab", 1, 0.5)
    log, _, _ = run(stage, Call().segment(np.concatenate([first, silence(170), speech("abba", 2, 0.5)])).log([8]))
    texts = [final["text"] for final in said(log)]
    assert texts == ["cab ab", "abba"]
    assert 3 * S <= log[0][1].end - said(log)[0]["words"][-1]["end"] <= 3 * S + 100 * MS


def test_who_never_pauses_is_cut_between_words(stage: DecoderStage) -> None:
    text = " ".join(["cab", "ab", "abba", "a"] * 80)
    log, _, _ = run(stage, Call().segment(speech(text, 6, 0.3)).log([8]), endpointing={"max_utterance_s": 5})
    assert len(log) > 3
    assert all(entry.end - entry.begin <= 5 * S for _, entry in log)
    assert " ".join(final["text"] for final in said(log)) == text


def test_finalize_ends_the_utterance_where_it_stands(stage: DecoderStage) -> None:
    call = Call()
    frames = speech("cab ab", 1, 0.5)
    call.pieces.append((0, frames))
    call.end = len(frames) * HOP
    log, _, _ = run(stage, call.mark(MarkKind.FINALIZE).log([4]))
    assert [(final["text"], final["end"]) for final in said(log)] == [("cab ab", call.end)]


def test_a_frame_that_a_closing_mark_cuts_in_two_belongs_to_nobody(stage: DecoderStage) -> None:
    """A fresh worker that reads from the mark on would not see it, so the one that stays must not use it."""
    frames = speech("a", 1, 0.2)
    peak = int(np.argmax(frames[:, SYMBOLS.index("a")]))
    frames[:] = silence(len(frames))
    frames[peak] = speech("a", 1, 0.0)[1:2]
    frames[peak, [1, 5]] = np.log(0.9), np.log(0.05)
    call = Call().segment(frames).mark_at(peak * HOP + 100, MarkKind.FINALIZE)
    news = call.log([100])
    log, _, _ = run(stage, news)
    again, _, _ = run(stage, news, tail_of(log[:1]))
    assert essence(log[:1] + again) == essence(log)
    assert [final["text"] for final in said(log)] == ["", ""]


def test_a_mark_that_comes_again_after_a_restart_ends_nothing_twice(stage: DecoderStage) -> None:
    call = Call().say("ab", 1).mark(MarkKind.FINALIZE)
    news = call.log([1000])
    log, _, _ = run(stage, news)
    again, steps, _ = run(stage, news, tail_of(log))
    assert again == [] and all(step.entries == () for step in steps)


def test_partials_show_news_only_and_number_as_the_final_will(stage: DecoderStage) -> None:
    call = Call().quiet(S).say("cab ab", 1).quiet(S).say("abba", 2)
    _, steps, _ = run(stage, call.log([4]))
    partials = [parse_server(step.live) for step in steps if step.live]
    assert all(isinstance(partial, Partial) and partial.track == 1 for partial in partials)
    for number, text in ((0, "cab ab"), (1, "abba")):
        mine = [partial for partial in partials if partial.utterance == number]
        assert mine[-1].text and all(text.startswith(partial.text[: partial.stable]) for partial in mine)
        assert [p.revision for p in mine] == sorted({p.revision for p in mine})
        assert all(p.begin <= p.end == p.revision for p in mine)
    assert len(partials) < len(steps)


def test_a_partial_that_comes_to_nothing_is_taken_back(stage: DecoderStage) -> None:
    maybe = speech("a", 1, 0.0)[:2]
    frames = np.concatenate([maybe, silence(2)])
    frames[1, [1, 5]] = frames[1, [5, 1]]
    track = start(stage)
    state = track.state
    state.shown = "a"  # watchers saw a guess that later frames overturned
    entry = Entry(
        state.track.key,
        Kind.EMISSIONS,
        0,
        2 * HOP,
        (Span(0, 2 * HOP),),
        HOP,
        2 * len(SYMBOLS),
        silence(2).astype(np.float16).tobytes(),
    )
    step = stage.step([(state, [entry])])[0]
    assert step.live is not None and json.loads(step.live)["text"] == ""


def test_quality_goes_to_watchers_at_once_and_into_the_log(stage: DecoderStage) -> None:
    call = Call().quiet(S).mark(MarkKind.QUALITY, "features", level=-20).quiet(2 * S)
    log, steps, _ = run(stage, call.log([25]))
    assert [len(step.live_marks) for step in steps] == [0, 1, 0, 0, 0, 0]
    assert [mark.kind for _, entry in log for mark in entry.marks] == [MarkKind.QUALITY]


def test_numbers_that_are_none_are_heard_as_nothing(stage: DecoderStage) -> None:
    broken = speech("cab", 1)
    broken[::3] = np.nan
    broken[1::5] = np.inf
    broken[2::7] = -np.inf
    call = Call().segment(broken).say("ab", 2, 0.5)
    log, _, _ = run(stage, call.log([7]))
    assert said(log)[-1]["text"] == "ab"


def test_tracks_in_one_batch_do_not_touch(stage: DecoderStage) -> None:
    calls = [Call().say(text, seed).quiet(S) for seed, text in enumerate(("cab ab", "abba", "a"))]
    alone = [run(stage, call.log([6]))[0] for call in calls]
    tracks = [start(stage, fresh_tail()) for _ in calls]
    logs = [call.log([6]) for call in calls]
    together: list[list[tuple[EntryId, Entry]]] = [[] for _ in calls]
    for at in range(max(map(len, logs))):
        batch = [(n, track.take(logs[n][at : at + 1])) for n, track in enumerate(tracks)]
        for (n, _), step in zip(batch, stage.step([(tracks[n].state, news) for n, news in batch]), strict=True):
            together[n] += tracks[n].emit(step)
    assert [essence(log) for log in together] == [essence(log) for log in alone]
