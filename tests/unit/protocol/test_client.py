"""What the client's machine does, one claim each."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.protocol.test_client_states import MESSAGES, RATE, START, TOKEN, Rig, ack, in_state, started

from stenoflow.protocol import client_events as ce
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import GIVE_UP_S, RETRY_S, SLEPT_S, WATCHDOG_S, ClientSession, State
from stenoflow.protocol.frames import AudioFrame, decode_frame


def frames(effects: list[ce.Effect]) -> list[AudioFrame]:
    return [decode_frame(effect.data) for effect in effects if isinstance(effect, ce.SendAudio)]


def sent(effects: list[ce.Effect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, ce.SendText)]


def delivered(effects: list[ce.Effect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, ce.Deliver)]


def final(begin: int, end: int) -> wire.Final:
    return wire.Final(track=0, utterance=0, begin=begin, end=end, text="a", words=(), confidence=1.0)


def pcm(samples: int) -> bytes:
    return bytes(2 * samples)


def again(rig: Rig) -> list[ce.Effect]:
    """The connection breaks and a new one is open; returns what is sent first."""
    if rig.machine.state is not State.WAITING:
        rig.tell(ce.SocketLost(rig.machine.connection))
    rig.now += 5
    rig.tell(ce.Timer())
    return rig.socket_open()


def test_sound_goes_out_as_it_comes() -> None:
    rig = in_state(State.STREAMING)
    assert frames(rig.tell(ce.Audio(0, pcm(100)))) == [AudioFrame(0, 0, pcm(100))]
    assert frames(rig.tell(ce.Audio(0, pcm(50)))) == [AudioFrame(0, 100, pcm(50))]


def test_sound_from_before_started_is_kept_and_sent_then() -> None:
    rig = in_state(State.CONNECTING)
    assert frames(rig.tell(ce.Audio(0, pcm(100)))) == []
    rig.socket_open()
    assert [(frame.position, frame.end) for frame in frames(rig.tell(started()))] == [(0, 100)]


def test_nothing_goes_beyond_the_window() -> None:
    rig = in_state(State.STREAMING)
    rig.tell(ack(window_end=150))
    rig.tell(ce.Audio(0, pcm(100)))
    assert [frame.end for frame in frames(rig.tell(ce.Audio(0, pcm(100))))] == [150]
    assert [(frame.position, frame.end) for frame in frames(rig.tell(ack(window_end=1000)))] == [(150, 200)]


def test_what_is_sent_again_goes_in_frames_of_a_second() -> None:
    rig = in_state(State.CONNECTING)
    rig.tell(ce.Audio(0, pcm(2 * RATE + 10)))
    rig.socket_open()
    assert [len(frame.samples) // 2 for frame in frames(rig.tell(started()))] == [RATE, RATE, 10]


def test_marks_wait_for_the_sound_before_them() -> None:
    rig = in_state(State.STREAMING)
    rig.tell(ack(window_end=50))
    rig.tell(ce.Audio(0, pcm(100)))
    assert sent(rig.tell(ce.FinalizeAsked())) == []
    rig.tell(ce.Audio(0, pcm(100)))
    effects = rig.tell(ack(window_end=1000))
    kinds = [type(effect) for effect in effects if not isinstance(effect, ce.Deliver | ce.SetTimer)]
    assert kinds == [ce.SendAudio, ce.SendText, ce.SendAudio], "the mark stands between the samples where it was made"


def test_a_resume_carries_token_and_committed_and_sends_from_next() -> None:
    rig = in_state(State.STREAMING)
    rig.tell(ce.Audio(0, pcm(500)))
    rig.tell(ack(received=400, committed=160))
    [start] = sent(again(rig))
    assert start.resume == wire.Resume(token=TOKEN, tracks=(wire.ResumeTrack(track=0, committed=160),))
    assert [(frame.position, frame.end) for frame in frames(rig.tell(started(400, 160)))] == [(400, 500)]
    assert rig.machine.resumes == 1


def test_what_is_committed_is_forgotten_and_no_more() -> None:
    rig = in_state(State.STREAMING)
    room = rig.machine.room(0)
    rig.tell(ce.Audio(0, pcm(500)))
    assert rig.machine.room(0) == room - 500
    rig.tell(ack(received=500, committed=300))
    assert rig.machine.room(0) == room - 200


def test_a_rewind_sends_again_sound_and_marks_from_next() -> None:
    rig = in_state(State.STREAMING)
    rig.tell(ce.Audio(0, pcm(500)))
    rig.tell(ce.StopAsked())
    assert rig.machine.state is State.STOPPING
    effects = rig.tell(wire.Status(status="rewind", track=0, next=200))
    assert [(frame.position, frame.end) for frame in frames(effects)] == [(200, 500)]
    assert sent(effects) == [wire.Stop(track=0)]


def test_a_rewind_with_nothing_to_send_is_answered_with_an_empty_frame() -> None:
    rig = in_state(State.STREAMING)
    rig.tell(ce.Audio(0, pcm(100)))
    rig.tell(ce.StopAsked())
    effects = rig.tell(wire.Status(status="rewind", track=0, next=100))
    assert frames(effects) == [AudioFrame(0, 100, b"")]
    assert sent(effects) == [wire.Stop(track=0)]


def test_a_server_that_wants_what_is_not_kept_fails_the_session() -> None:
    rig = in_state(State.STREAMING)
    effects = rig.tell(wire.Status(status="rewind", track=0, next=100))
    assert isinstance(effects[-1], ce.Finished)
    assert rig.machine.state is State.FAILED


def test_finals_come_once_however_often_they_are_sent() -> None:
    rig = in_state(State.STREAMING)
    rig.tell(ce.Audio(0, pcm(1000)))
    assert delivered(rig.tell(final(0, 320))) == [final(0, 320)]
    assert delivered(rig.tell(final(0, 320))) == []
    [start] = sent(again(rig))
    assert start.resume is not None
    assert start.resume.tracks[0].committed == 320, "all before the end of a final is final"
    rig.tell(started(1000, 320))
    assert delivered(rig.tell(final(160, 320))) == []
    assert delivered(rig.tell(final(320, 640))) == [final(320, 640)]
    assert [each.end for each in rig.machine.finals] == [320, 640]


def test_two_seconds_without_ack_are_a_break() -> None:
    rig = in_state(State.STREAMING)
    due = rig.now + WATCHDOG_S
    rig.now = due - 0.1
    assert rig.tell(ce.Timer()) == [ce.SetTimer(due)]
    rig.tell(ack())
    rig.now += WATCHDOG_S
    connection = rig.machine.connection
    assert rig.tell(ce.Timer())[0] == ce.Disconnect(connection)
    assert rig.machine.state is State.WAITING


def test_a_timer_that_comes_early_is_not_the_last() -> None:
    """A loop whose clock counts milliseconds wakes up to one too early; who then waits for ever has lost the call."""
    rig = in_state(State.STREAMING)
    [timer] = [effect for effect in rig.tell(ce.SocketLost(rig.machine.connection)) if isinstance(effect, ce.SetTimer)]
    rig.now = timer.at - 0.0004
    assert rig.tell(ce.Timer()) == [timer]
    rig.now = timer.at
    assert any(isinstance(effect, ce.Connect) for effect in rig.tell(ce.Timer()))


def test_a_process_that_slept_does_not_blame_the_server() -> None:
    rig = in_state(State.STREAMING)
    rig.now += WATCHDOG_S + SLEPT_S + 1
    rig.tell(ce.Timer())
    assert rig.machine.state is State.STREAMING


def test_pauses_grow_and_start_over_after_an_ack() -> None:
    rig = in_state(State.CONNECTING)
    pauses = []
    for _ in range(6):
        [timer] = [
            effect for effect in rig.tell(ce.SocketLost(rig.machine.connection)) if isinstance(effect, ce.SetTimer)
        ]
        pauses.append(round(timer.at - rig.now, 3))
        rig.now = timer.at
        rig.tell(ce.Timer())
    assert pauses == [*RETRY_S, RETRY_S[-1]]
    rig.socket_open()
    rig.tell(started())
    rig.tell(ack())
    [timer] = [effect for effect in rig.tell(ce.SocketLost(rig.machine.connection)) if isinstance(effect, ce.SetTimer)]
    assert timer.at - rig.now == pytest.approx(RETRY_S[0])


def test_a_server_out_of_reach_is_given_up_with_the_reason() -> None:
    rig = in_state(State.CONNECTING)
    rig.now += GIVE_UP_S
    [finished] = [
        effect for effect in rig.tell(ce.SocketLost(rig.machine.connection)) if isinstance(effect, ce.Finished)
    ]
    assert finished.error is not None
    assert finished.error.code == "connection_lost"


def test_without_patience_a_refusal_is_the_end() -> None:
    machine = ClientSession(START, give_up_s=0)
    machine.receive(ce.Begin(), 0.0)
    machine.receive(ce.SocketOpen(1), 0.0)
    refusal = wire.Error(code="at_capacity", message="no place", retryable=True, retry_after_ms=2000)
    effects = machine.receive(ce.Received(1, refusal.model_dump_json()), 0.0)
    assert isinstance(effects[-1], ce.Finished)
    assert effects[-1].error is not None
    assert effects[-1].error.code == "at_capacity"


def test_with_patience_a_refusal_is_asked_again_when_the_server_says() -> None:
    rig = in_state(State.STARTING)
    refusal = wire.Error(code="at_capacity", message="no place", retryable=True, retry_after_ms=2000)
    [timer] = [effect for effect in rig.tell(refusal) if isinstance(effect, ce.SetTimer)]
    assert timer.at - rig.now == 2.0
    rig.now += 2
    assert any(isinstance(effect, ce.Connect) for effect in rig.tell(ce.Timer()))


def test_a_drain_moves_at_once() -> None:
    rig = in_state(State.STREAMING)
    [timer] = [effect for effect in rig.tell(wire.Reconnect()) if isinstance(effect, ce.SetTimer)]
    assert timer.at == rig.now


def test_superseded_is_the_end() -> None:
    rig = in_state(State.STREAMING)
    effects = rig.tell(MESSAGES[wire.Error])
    assert isinstance(effects[-1], ce.Finished)
    assert effects[-1].error is not None
    assert effects[-1].error.code == "superseded"


def test_superseded_right_after_a_resume_is_doubted_once() -> None:
    rig = in_state(State.STREAMING)
    for state in (State.WAITING, State.FAILED):
        again(rig)
        rig.tell(started())
        rig.tell(MESSAGES[wire.Error])
        assert rig.machine.state is state


def test_what_an_old_connection_still_brings_is_left_out() -> None:
    rig = in_state(State.STREAMING)
    old = rig.machine.connection
    again(rig)
    for event in (ce.SocketOpen(old), ce.SocketLost(old), ce.Received(old, final(0, 160).model_dump_json())):
        assert rig.machine.receive(event, rig.now) == []


def test_a_server_that_says_nonsense_fails_the_session() -> None:
    rig = in_state(State.STREAMING)
    effects = list(rig.machine.receive(ce.Received(rig.machine.connection, "<html>"), rig.now))
    assert isinstance(effects[-1], ce.Finished)
    assert rig.machine.state is State.FAILED


def test_settings_are_part_of_a_later_start_once_they_are_final() -> None:
    """A whole file may lie in the ring, with settings that change in it, before the first ``start`` goes out."""
    start = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=16_000),))
    machine, now = ClientSession(start), 0.0

    def tell(event: ce.Event | wire.Message) -> list[Any]:
        if isinstance(event, wire.Message):
            event = ce.Received(machine.connection, event.model_dump_json())
        return list(machine.receive(event, now))

    def sent(effects: list[Any]) -> list[Any]:
        return [effect.message for effect in effects if isinstance(effect, ce.SendText)]

    def started(next_: int) -> wire.Started:
        track = wire.StartedTrack(track=0, name="a", next=next_, committed=0)
        limits = wire.Limits(window_s=12, max_frame_s=2, max_tracks=8)
        return wire.Started(session="s", resume_token="t" * 20, bundle="b", tracks=(track,), limits=limits)

    def acked(committed: int) -> wire.Ack:
        return wire.Ack(tracks=(wire.AckTrack(track=0, received=480, committed=committed, window_end=160_000),))

    def again() -> wire.Start:
        nonlocal now
        tell(ce.SocketLost(machine.connection))
        now += 10
        tell(ce.Timer())
        [message] = sent(tell(ce.SocketOpen(machine.connection)))
        return message

    tell(ce.Begin())
    tell(ce.Audio(0, bytes(320)))
    tell(ce.ConfigureAsked(wire.Configure(lm_weight=0.5)))
    tell(ce.Audio(0, bytes(320)))
    tell(ce.ConfigureAsked(wire.Configure(lm_weight=2.0, partials=False)))
    tell(ce.Audio(0, bytes(320)))
    [first] = sent(tell(ce.SocketOpen(machine.connection)))
    assert (first.lm_weight, first.partials) == (1.0, True)
    marks = sent(tell(started(0)))
    assert [(mark.track, mark.lm_weight) for mark in marks] == [(0, 0.5), (0, 2.0)]
    tell(acked(200))
    second = again()
    assert (second.lm_weight, second.partials) == (0.5, True)
    assert [mark.lm_weight for mark in sent(tell(started(200)))] == [0.5, 2.0], "what is in force there, then the mark"
    tell(acked(480))
    third = again()
    assert (third.lm_weight, third.partials) == (2.0, False)


def test_an_occurrence_that_comes_again_after_a_resume_is_delivered_once() -> None:
    machine = ClientSession(wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=16_000),)))
    machine.receive(ce.Begin(), 0.0)
    machine.receive(ce.SocketOpen(machine.connection), 0.0)
    limits = wire.Limits(window_s=12, max_frame_s=2, max_tracks=8)
    track = wire.StartedTrack(track=0, name="a", next=0, committed=0)
    begun = wire.Started(session="s", resume_token="t" * 20, bundle="b", tracks=(track,), limits=limits)
    machine.receive(ce.Received(machine.connection, begun.model_dump_json()), 0.0)
    spotted = wire.Spotted(track=0, phrase="ada", begin=0, end=160, score=0.9)
    delivered = [
        len(machine.receive(ce.Received(machine.connection, each.model_dump_json()), 0.0))
        for each in (spotted, spotted, spotted.model_copy(update={"end": 320}))
    ]
    assert delivered == [1, 0, 1]
