"""Latencies as a server can know them: worked by hand, on the sound's own clock."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry, Kind
from stenoflow_gateway.session.caption_latency import CaptionLatency
from stenoflow_gateway.session.events import Measured

KEY = TrackKey(SessionId("s00-0000000000000000"), 0, Epoch("e1"))
SECOND = 16_000
BEGAN_MS = 1_000_000
"""When the first sample was spoken."""


def at(second: float) -> int:
    return BEGAN_MS + round(second * 1000)


def caption(text: str, words: Iterable[tuple[str, float, float]] = (), utterance: int = 0, decided: float = 0) -> Entry:
    body = {
        "utterance": utterance,
        "text": text,
        "words": [{"word": w, "begin": int(b * SECOND), "end": int(e * SECOND), "confidence": 1} for w, b, e in words],
    }
    stamps = {"decoder.end": at(decided)} if decided else {}
    return Entry(KEY, Kind.FINAL, 0, 0, data=json.dumps(body).encode(), stamps=stamps)


def call(seconds: float = 3.0, delay: float = 0.0, **options: bool) -> CaptionLatency:
    """A track whose sound came in chunks of 100 ms."""
    latency = CaptionLatency(**options)
    for chunk in range(round(seconds * 10)):
        begin, end = chunk * SECOND // 10, (chunk + 1) * SECOND // 10
        latency.heard(begin, end, at((chunk + 1) / 10 + delay))
    return latency


def figures(measured: Iterable[Measured]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for each in measured:
        found.setdefault(each.name, []).append(pytest.approx(each.value, abs=1e-6))
    return found


def test_words_count_from_their_end_to_the_first_caption_that_shows_them_unrevised() -> None:
    latency = call()
    assert figures(latency.partial(caption("the cap"), at(1.5))) == {"shown": [2], "changed": [0]}
    assert figures(latency.partial(caption("the cat"), at(1.7))) == {"shown": [1], "changed": [1]}
    words = [("the", 0.5, 0.9), ("cat", 1.0, 1.4), ("sat", 1.5, 1.9)]
    assert figures(latency.final(caption("The cat sat.", words, decided=2.4), at(2.6))) == {
        "shown": [1],
        "changed": [0],
        "endpoint": [0.5],
        "first_partial": [1.0],
        "word": [0.6, 0.3, 0.7],
        "final": [0.7],
    }


def test_a_draft_shows_all_words_and_its_corrections_leave_the_others_as_they_were() -> None:
    latency = call()
    words = [("a", 0.1, 0.2), ("cap", 0.3, 0.4), ("sat", 0.5, 0.6)]
    measured = figures(latency.draft(caption("a cap sat", words, decided=1.0), at(1.1)))
    assert measured == {"shown": [3], "changed": [0], "endpoint": [0.4]}
    corrected = [("a", 0.1, 0.2), ("cat", 0.3, 0.4), ("sat", 0.5, 0.6)]
    measured = figures(latency.final(caption("A cat sat.", corrected, decided=1.0), at(2.6)))
    assert measured["corrected"] == [1] and "changed" not in measured and "endpoint" not in measured
    assert measured["word"] == [0.9, 2.2, 0.5]


def test_a_queue_on_the_way_cannot_hide_itself() -> None:
    """Coordinated omission: chunks that came late were spoken when the earlier ones say."""
    latency = call(1.0)
    for chunk in range(10, 20):
        latency.heard(chunk * SECOND // 10, (chunk + 1) * SECOND // 10, at(4.0))
    measured = figures(latency.final(caption("late", [("late", 1.5, 1.9)]), at(4.1)))
    assert measured["final"] == [2.2]


def test_the_way_to_the_gateway_at_its_best_is_not_in_it() -> None:
    latency = call(delay=5.0)
    assert figures(latency.final(caption("x", [("x", 1.0, 1.5)]), at(7.0)))["final"] == [0.5]


def test_a_pause_of_the_client_is_forgotten() -> None:
    latency = call(1.0)
    for chunk in range(10, 400):  # it sent nothing for 30 s
        latency.heard(chunk * SECOND // 10, (chunk + 1) * SECOND // 10, at(30 + (chunk + 1) / 10))
    assert figures(latency.final(caption("x", [("x", 39.0, 39.5)]), at(70.0)))["final"] == [0.5]


def test_nothing_is_told_of_files_nor_of_sound_that_another_gateway_heard() -> None:
    final = caption("x", [("x", 0.1, 0.2)])
    assert "word" not in figures(call(live=False).final(final, at(3)))
    resumed = CaptionLatency()
    resumed.heard(SECOND, 2 * SECOND, at(2))
    assert "word" not in figures(resumed.final(final, at(3)))


def test_utterances_whose_final_never_comes_are_not_kept_for_ever() -> None:
    latency = call()
    for utterance in range(1000):
        list(latency.partial(caption("word", utterance=utterance), at(1)))
    assert len(latency._open) <= 8
