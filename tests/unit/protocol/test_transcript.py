"""Finals as text, SRT and WebVTT: nothing is lost at a cut, and times are in the formats' own way."""

from __future__ import annotations

from itertools import pairwise

from stenoflow.protocol.messages import Final, Word
from stenoflow.protocol.transcript import (
    MAX_CUE_CHARACTERS,
    MAX_CUE_S,
    as_json,
    as_srt,
    as_text,
    as_vtt,
    cues,
    timed_tokens,
)


def final(track: int, begin_s: float, text: str, *, seconds_per_word: float = 0.5) -> Final:
    step = round(seconds_per_word * 16_000)
    at = round(begin_s * 16_000)
    words = []
    for word in text.split():
        words.append(Word(word=word, begin=at, end=at + step - 160, confidence=0.9))
        at += step
    return Final(
        track=track,
        utterance=0,
        begin=round(begin_s * 16_000),
        end=at,
        text=text,
        words=tuple(words),
        confidence=0.9,
    )


def test_a_conversation_is_in_the_order_in_which_it_was_said() -> None:
    finals = [final(0, 0, "good morning"), final(0, 6, "of course"), final(1, 3, "i have a question")]
    assert as_text(["agent", "customer"], finals) == (
        "agent: good morning\ncustomer: i have a question\nagent: of course\n"
    )


def test_one_speaker_has_no_name_in_front() -> None:
    assert as_text(["memo"], [final(0, 0, "buy milk")]) == "buy milk\n"


def test_long_utterances_are_cut_at_words_and_lose_none() -> None:
    text = " ".join(f"word{number}" for number in range(60))
    pieces = cues(["memo"], [final(0, 0, text)])
    assert " ".join(piece.text for piece in pieces) == text
    assert all(piece.end - piece.begin <= MAX_CUE_S + 0.5 for piece in pieces)
    assert all(len(piece.text) <= MAX_CUE_CHARACTERS + 8 for piece in pieces)
    assert all(one.end <= other.begin for one, other in pairwise(pieces))


def test_what_the_second_pass_writes_is_kept_as_it_is_written() -> None:
    spoken = final(0, 1, "i owe you twenty dollars")
    written = spoken.model_copy(update={"text": "I owe you $20.", "pass_": 2})
    [cue] = cues(["memo"], [written])
    assert (cue.text, cue.begin, cue.end) == ("I owe you $20.", 1.0, spoken.words[-1].end / 16_000)
    same = spoken.model_copy(update={"text": "I owe you twenty dollars.", "pass_": 2})
    assert [each[1:] for each in timed_tokens(same)] == [each[1:] for each in timed_tokens(spoken)]
    assert '"pass": 2' in as_json(["memo"], [written], 3.0)


def test_srt_numbers_its_cues_and_has_a_comma_before_milliseconds() -> None:
    assert as_srt(["a", "b"], [final(1, 3661.25, "hello")]) == "1\n01:01:01,250 --> 01:01:01,740\nb: hello\n"


def test_vtt_has_its_header_and_voice_spans() -> None:
    assert as_vtt(["a", "b"], [final(0, 0, "hello there")]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.990\n<v a>hello there\n"
    )


def test_json_times_are_seconds() -> None:
    assert '"begin": 2.0' in as_json(["a"], [final(0, 2, "hello")], 3.0)
