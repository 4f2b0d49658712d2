"""What the caller's clock measures of what comes back."""

from __future__ import annotations

import pytest
from load_tests.speakers import Heard, Listener

from stenoflow.protocol.messages import Error, Final, Latency, LatencySteps, Partial, Progress, ProgressTrack, Word


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def listener(since: float = 0.0) -> tuple[Heard, Clock, Listener]:
    heard, clock = Heard(since=since), Clock()
    return heard, clock, Listener(heard, clock, seconds=100)


def partial(text: str, seconds: float) -> Partial:
    return Partial(track=0, utterance=0, revision=round(seconds * 16_000), begin=0, end=0, text=text, stable=0)


def progress(received: float, decoder: float) -> Progress:
    line = ProgressTrack(
        track=0,
        received=round(received * 16_000),
        features=0,
        acoustic=0,
        decoder=round(decoder * 16_000),
        behind_s=received - decoder,
    )
    return Progress(tracks=(line,))


def final(begin: float, end: float, text: str) -> Final:
    word = Word(word=text, begin=round(begin * 16_000), end=round(end * 16_000), confidence=1)
    return Final(track=0, utterance=0, begin=0, end=word.end, text=text, words=(word,), confidence=1)


def test_the_first_partial_counts_from_the_first_words_start() -> None:
    heard, clock, to = listener()
    for at, message in ((1.0, partial("", 0.9)), (1.5, partial("o", 1.4)), (2.0, partial("one", 1.8))):
        clock.now = at
        to.note(message)
    clock.now = 3.0
    to.note(final(0.5, 1.0, "one"))
    heard.find_words()
    assert heard.first_partial == pytest.approx([1.0])
    assert heard.final == pytest.approx([2.0])
    assert heard.word == pytest.approx([1.0])


def test_nothing_counts_before_the_warm_up_is_over() -> None:
    heard, clock, to = listener(since=10.0)
    clock.now = 9.0
    to.note(partial("one", 8.0))
    to.note(Latency(track=0, total_ms=1, chunk_ms=160, look_ahead_ms=0, steps=steps()))
    to.note(final(7.0, 8.0, "one"))
    heard.find_words()
    assert heard.word == heard.final == heard.first_partial == heard.chunk == []
    assert heard.steps == {}
    clock.now = 12.0
    to.note(Latency(track=0, total_ms=1, chunk_ms=160, look_ahead_ms=0, steps=steps()))
    assert heard.steps["acoustic"] == [0.003]


def steps() -> LatencySteps:
    return LatencySteps(queue=1, features=2, acoustic=3, decoder=4, back=5)


def test_lag_is_the_age_of_what_is_not_covered_and_nothing_where_all_is() -> None:
    heard, clock, to = listener()
    clock.now = 5.0
    to.note(progress(received=4.9, decoder=4.0))
    clock.now = 6.0
    to.note(progress(received=5.9, decoder=5.9))
    assert heard.lag == [(5.0, pytest.approx(1.0))]


def test_progress_covers_chunks_too_and_the_longest_pause_is_kept() -> None:
    heard, clock, to = listener()
    for at, decoder in ((1.0, 0.16), (1.5, 0.48), (4.0, 0.48), (4.5, 0.64)):
        clock.now = at
        to.note(progress(received=5.0, decoder=decoder))
    assert heard.chunk == pytest.approx([1 - 0.16, 1.5 - 0.32, 1.5 - 0.48, 4.5 - 0.64])
    assert heard.pause == pytest.approx(3.0)


def test_a_caller_who_finds_no_place_knows_at_once() -> None:
    heard, _, to = listener()
    to.note(Error(code="at_capacity", message="no place", retryable=True))
    assert heard.refused == "at_capacity"
