"""Every cell of the client machine's table."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from stenoflow.protocol import client_events as ce
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import EVENTS, TRANSITIONS, ClientSession, State

RATE = 16_000
START = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),))
TOKEN = "s00-0123456789abcdef.a-token-for-tests"


def started(next_: int = 0, committed: int = 0) -> wire.Started:
    track = wire.StartedTrack(track=0, name="a", next=next_, committed=committed)
    limits = wire.Limits(window_s=12, max_frame_s=2, max_tracks=8)
    return wire.Started(session="s", resume_token=TOKEN, bundle="b", tracks=(track,), limits=limits)


def ack(received: int = 0, committed: int = 0, window_end: int = 12 * RATE) -> wire.Ack:
    line = wire.AckTrack(track=0, received=received, committed=committed, window_end=window_end)
    return wire.Ack(tracks=(line,))


MESSAGES: dict[type, wire.Message] = {
    wire.Started: started(),
    wire.Ack: ack(),
    wire.Partial: wire.Partial(track=0, utterance=0, revision=1, begin=0, end=1, text="a", stable=0),
    wire.Final: wire.Final(track=0, utterance=0, begin=0, end=160, text="a", words=(), confidence=1.0),
    wire.Spotted: wire.Spotted(track=0, phrase="a", begin=0, end=160, score=1.0),
    wire.Progress: wire.Progress(tracks=()),
    wire.Latency: wire.Latency(
        track=0,
        total_ms=1,
        chunk_ms=160,
        look_ahead_ms=0,
        steps=wire.LatencySteps(queue=0, features=0, acoustic=0, decoder=0, back=0),
    ),
    wire.Quality: wire.Quality(track=0, level_db=-20, clipping=0, snr_db=None, bandwidth_hz=None, hint=None),
    wire.Status: wire.Status(status="normal"),
    wire.Warning: wire.Warning(code="w", message="w", retryable=True),
    wire.Error: wire.Error(code="superseded", message="e", retryable=False),
    wire.Reconnect: wire.Reconnect(),
    wire.Ended: wire.Ended(tracks=()),
}


class Rig:
    """A machine, told things one after the other."""

    def __init__(self) -> None:
        self.machine = ClientSession(START)
        self.now = 100.0

    def tell(self, event: ce.Event | wire.Message) -> list[ce.Effect]:
        if isinstance(event, wire.Message):
            event = ce.Received(self.machine.connection, event.model_dump_json())
        return list(self.machine.receive(event, self.now))

    def socket_open(self) -> list[ce.Effect]:
        return self.tell(ce.SocketOpen(self.machine.connection))


def in_state(state: State) -> Rig:
    rig = Rig()
    if state is State.IDLE:
        return rig
    rig.tell(ce.Begin())
    if state is State.CONNECTING:
        return rig
    if state is State.WAITING:
        rig.tell(ce.SocketLost(rig.machine.connection))
        return rig
    rig.socket_open()
    if state is State.STARTING:
        return rig
    rig.tell(started())
    match state:
        case State.DRAINING:
            rig.tell(ack(window_end=0))
            rig.tell(ce.Audio(0, bytes(200)))
            rig.tell(ce.StopAsked())
        case State.STOPPING:
            rig.tell(ce.StopAsked())
        case State.ENDED:
            rig.tell(wire.Ended(tracks=()))
        case State.FAILED:
            rig.tell(MESSAGES[wire.Error])
    return rig


def event_for(rig: Rig, kind: type) -> Any:
    if issubclass(kind, wire.Message):
        return MESSAGES[kind]
    match kind:
        case ce.Audio:
            return ce.Audio(0, b"")
        case ce.ConfigureAsked:
            return ce.ConfigureAsked(wire.Configure(partials=False))
        case ce.SocketOpen | ce.SocketLost:
            return kind(rig.machine.connection)
        case _:
            return kind()


FLOWING = (State.STREAMING, State.DRAINING, State.STOPPING)
AFTER: dict[tuple[State, type], State] = {
    (State.IDLE, ce.Begin): State.CONNECTING,
    (State.CONNECTING, ce.SocketOpen): State.STARTING,
    (State.CONNECTING, ce.SocketLost): State.WAITING,
    (State.STARTING, ce.SocketLost): State.WAITING,
    (State.STARTING, wire.Started): State.STREAMING,
    (State.STARTING, wire.Reconnect): State.WAITING,
    (State.STREAMING, ce.StopAsked): State.STOPPING,  # all was sent
    (State.DRAINING, wire.Ack): State.STOPPING,  # the window opened
    **{(state, wire.Error): State.FAILED for state in (State.STARTING, *FLOWING)},
    **{(state, ce.SocketLost): State.WAITING for state in FLOWING},
    **{(state, wire.Reconnect): State.WAITING for state in FLOWING},
    **{(state, wire.Ended): State.ENDED for state in FLOWING},
}


def test_every_state_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    for state in State:
        assert in_state(state).machine.state is state


def test_every_message_of_the_protocol_is_in_the_walk() -> None:
    assert set(MESSAGES) <= set(EVENTS)


@pytest.mark.parametrize(
    ("state", "kind"),
    [pytest.param(*cell, id=f"{cell[0]}-{cell[1].__name__}") for cell in itertools.product(State, EVENTS)],
)
def test_every_cell(state: State, kind: type) -> None:
    rig = in_state(state)
    event = event_for(rig, kind)
    if kind is ce.Audio and state in (State.DRAINING, State.STOPPING):
        with pytest.raises(AssertionError, match="after its stop"):
            rig.tell(event)
        return
    if kind not in TRANSITIONS[state]:
        if issubclass(kind, wire.Message):
            effects = rig.tell(event)
            assert rig.machine.state is State.FAILED
            assert isinstance(effects[-1], ce.Finished)
            assert effects[-1].error is not None
            assert effects[-1].error.code == "protocol_error"
        else:
            with pytest.raises(AssertionError, match=kind.__name__):
                rig.tell(event)
        return
    effects = rig.tell(event)
    assert rig.machine.state is AFTER.get((state, kind), state)
    if state in (State.ENDED, State.FAILED):
        assert effects == []
    finished = [effect for effect in effects if isinstance(effect, ce.Finished)]
    ends = rig.machine.state in (State.ENDED, State.FAILED) and rig.machine.state is not state
    assert len(finished) == ends
