"""Every cell of the gateway machine's table, and what the table leaves out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from tests.unit.gateway.world import RATE, Link, World, sound

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import Appended, LogKey, LogName
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.machine import Session
from stenoflow_gateway.session.resume_tokens import make_token
from stenoflow_gateway.session.states import TRANSITIONS, State

AT = on.Moment(100.0, 100_000)
SESSION = SessionId("s00-0123456789abcdef")
TOKEN = make_token(SESSION, "secret-secret")
START = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),))


class Rig:
    """A machine with a server behind it; answers what the machine asks, where told to."""

    def __init__(self) -> None:
        self.world = World(0)
        self.link = Link(1, Session(SESSION, TOKEN, {"live": 12, "file": 60}, AT))
        self.machine = self.link.machine

    def tell(self, event: on.Event) -> list[on.Effect]:
        return list(self.machine.receive(event, AT))

    def text(self, message: wire.Message) -> list[on.Effect]:
        return self.tell(on.Text(message.model_dump_json()))

    def opened(self, effects: list[on.Effect]) -> on.Opened:
        effect = next(effect for effect in effects if isinstance(effect, on.Open))
        record = self.world.server.open(effect.record)
        assert record is not None
        return on.Opened(record)


def greeting() -> Rig:
    return Rig()


def opening() -> Rig:
    rig = Rig()
    rig.text(START)
    return rig


def connecting() -> Rig:
    rig = Rig()
    rig.text(START.model_copy(update={"resume": wire.Resume(token=TOKEN)}))
    return rig


def streaming() -> Rig:
    rig = Rig()
    rig.tell(rig.opened(rig.text(START)))
    return rig


def stopping() -> Rig:
    rig = streaming()
    rig.text(wire.Stop())
    return rig


def reopening() -> Rig:
    rig = streaming()
    rig.tell(on.RecordRead(None))
    return rig


def closed() -> Rig:
    rig = streaming()
    rig.tell(on.SocketGone())
    return rig


IN_STATE: dict[State, Callable[[], Rig]] = {
    State.GREETING: greeting,
    State.OPENING: opening,
    State.CONNECTING: connecting,
    State.STREAMING: streaming,
    State.STOPPING: stopping,
    State.REOPENING: reopening,
    State.CLOSED: closed,
}


def event_for(rig: Rig, kind: type[on.Event]) -> on.Event:
    """An ordinary event of this kind."""
    record = rig.machine.record
    key = rig.machine.tracks[0].key if rig.machine.tracks else TrackKey(SESSION, 0, Epoch("e1"))
    other = rig.world.server.open(Session_record())
    assert other is not None
    match kind:
        case on.Text:
            return on.Text(wire.Finalize().model_dump_json())
        case on.Binary:
            return on.Binary(encode_frame(AudioFrame(0, 0, b"")))
        case on.Opened:
            return on.Opened(other)
        case on.Connected:
            return on.Connected(None)
        case on.Failed:
            return on.Failed(ClientError("at_capacity", "no place"), on.Code.NO_CAPACITY)
        case on.AppendDone:
            return on.AppendDone(key, None)
        case on.TailRead:
            return on.TailRead(key, rig.world.server.tail(LogKey(other.track_keys()[0], LogName.AUDIO)))
        case on.RecordRead:
            return on.RecordRead(record)
        case on.FinalsRead:
            return on.FinalsRead(key, [])
        case on.DraftsRead:
            return on.DraftsRead(key, [])
        case on.LiveRead:
            return on.LiveRead(key, [])
        case on.ProgressRead:
            return on.ProgressRead({})
        case _:
            return kind()


def Session_record():  # type: ignore[no-untyped-def]  # noqa: N802
    from stenoflow_gateway.session.opening import new_record

    return new_record(SessionId("s00-fedcba9876543210"), "hash", START, 1)


AFTER: dict[tuple[State, type[on.Event]], State] = {
    # Where the state stays as it is, no line is needed.
    (State.GREETING, on.Text): State.CLOSED,  # not a start
    (State.GREETING, on.Binary): State.CLOSED,
    (State.OPENING, on.Text): State.CLOSED,
    (State.OPENING, on.Binary): State.CLOSED,
    (State.OPENING, on.Failed): State.CLOSED,
    (State.OPENING, on.Opened): State.STREAMING,
    (State.OPENING, on.OpenLost): State.CLOSED,
    (State.CONNECTING, on.Text): State.CLOSED,
    (State.CONNECTING, on.Binary): State.CLOSED,
    (State.CONNECTING, on.Failed): State.CLOSED,
    (State.CONNECTING, on.Connected): State.OPENING,  # no such session any more: a new epoch
    (State.REOPENING, on.Failed): State.CLOSED,
    (State.REOPENING, on.Opened): State.STREAMING,
    **{(state, on.SocketGone): State.CLOSED for state in State},
    **{(state, on.Drain): State.CLOSED for state in State},
}


def test_every_state_can_be_reached() -> None:
    assert set(IN_STATE) == set(State) == set(TRANSITIONS)
    for state, make in IN_STATE.items():
        assert make().machine.state is state


@pytest.mark.parametrize(
    ("state", "kind"),
    [pytest.param(*cell, id=f"{cell[0]}-{cell[1].__name__}") for cell in itertools.product(State, on.EVENTS)],
)
def test_every_cell(state: State, kind: type[on.Event]) -> None:
    rig = IN_STATE[state]()
    event = event_for(rig, kind)
    if kind not in TRANSITIONS[state]:
        with pytest.raises(AssertionError, match=kind.__name__):
            rig.tell(event)
        return
    effects = rig.tell(event)
    assert rig.machine.state is AFTER.get((state, kind), state)
    if state is State.CLOSED:
        assert effects == [], "a closed machine wants nothing"
    elif rig.machine.state is State.CLOSED and kind is not on.SocketGone:
        closes = [effect for effect in effects if isinstance(effect, on.Close)]
        assert len(closes) == 1, "a socket is closed once, with a code"
        said = [effect.message for effect in effects if isinstance(effect, on.Send)]
        assert isinstance(said[-1], wire.Error | wire.Reconnect), "and the client hears why"


def test_a_session_that_was_opened_for_nobody_is_ended() -> None:
    rig = Rig()
    effects = rig.text(START)
    opened = rig.opened(effects)
    rig.tell(on.SocketGone())
    assert rig.tell(opened) == [on.Finish(opened.record, abandoned=True)]


def test_nothing_of_an_earlier_epoch_is_taken() -> None:
    rig = streaming()
    old = rig.machine.tracks[0].key
    effects = rig.tell(on.RecordRead(None))
    rig.tell(rig.opened(effects))
    assert rig.machine.tracks[0].key != old
    final = Entry(old, Kind.FINAL, 0, 1600, data=b'{"text": "old"}')
    for event in (
        on.AppendDone(old, Appended(EntryId(5, 1))),
        on.TailRead(old, None),
        on.FinalsRead(old, [(EntryId(1600, 1), final)]),
        on.LiveRead(old, [final]),
    ):
        assert rig.tell(event) == []
    assert rig.machine.state is State.STREAMING


def test_sound_between_loss_and_rewind_is_dropped_until_next_comes() -> None:
    rig = streaming()
    opened = rig.opened(rig.tell(on.RecordRead(None)))
    assert rig.tell(on.Binary(encode_frame(AudioFrame(0, 400, sound(400, 500))))) == []
    effects = rig.tell(opened)
    kinds = [effect.message.type for effect in effects if isinstance(effect, on.Send)]
    assert kinds == ["ack", "status"], "the new window comes before the rewind, since the client sends at once"
    assert rig.tell(on.Binary(encode_frame(AudioFrame(0, 500, sound(500, 600))))) == []
    effects = rig.tell(on.Binary(encode_frame(AudioFrame(0, 0, sound(0, 600)))))
    assert [effect.entry.end for effect in effects if isinstance(effect, on.Append)] == [600]
