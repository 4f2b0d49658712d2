"""What counts as lost or doubled."""

from __future__ import annotations

import pytest
from load_tests.loss import Differences, differences, tiles, undisturbed

from stenoflow.protocol.messages import Ended, EndedTrack
from stenoflow.runtime.in_process import Sound


def ended(received: int = 8000, committed: int = 8000) -> Ended:
    return Ended(
        tracks=(EndedTrack(track=0, received=received, committed=committed, utterances=1, words=1),),
    )


@pytest.mark.parametrize(
    ("finals", "end", "wrong"),
    [
        ([(0, 100, "a"), (100, 200, "b")], ended(), ""),
        ([(0, 100, "a"), (150, 200, "b")], ended(), ""),  # between them lies silence, whose finals do not come
        ([(0, 100, "a"), (90, 200, "b")], ended(), "begins at 90, before the last one's end 100"),
        ([(0, 100, "a"), (0, 100, "a")], ended(), "begins at 0, before the last one's end 100"),
        ([], ended(received=7000, committed=7000), "8000 samples were sent, 7000 received"),
        ([], ended(committed=7000), "8000 samples were received, 7000 are final"),
        ([], None, "the call never ended"),
    ],
)
def test_finals_tile(finals: list[tuple[int, int, str]], end: Ended | None, wrong: str) -> None:
    found = tiles([finals], end, [8000])
    assert found.endswith(wrong) if wrong else found == ""


@pytest.mark.parametrize(
    ("right", "said", "found"),
    [
        (["one two three"], ["one two three"], Differences(3, 0, 0, 0)),
        (["one two three"], ["one three"], Differences(3, lost=1)),
        (["one two three"], ["one two two three"], Differences(3, doubled=1)),
        (["one two three"], ["one too three"], Differences(3, other=1)),
        (["", "one"], ["two", "one"], Differences(1, doubled=1)),
        (["one", "two"], ["", ""], Differences(2, lost=2)),
    ],
)
def test_words_are_lost_doubled_or_other(right: list[str], said: list[str], found: Differences) -> None:
    assert differences(right, said) == found


def test_every_track_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        {"type": "partial", "track": 1, "text": "o"},
        {"type": "final", "track": 1, "text": "One,"},
        {"type": "final", "track": 0, "text": "Two"},
        {"type": "final", "track": 1, "text": "three."},
    ]
    monkeypatch.setattr("load_tests.loss.transcribe", lambda stages, sounds: iter(said))
    assert undisturbed({}, [Sound("a", 8000, b""), Sound("b", 8000, b"")]) == ["two", "one three"]
