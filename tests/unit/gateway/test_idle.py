"""Clients that say nothing: warned, then ended; and sockets that are dead."""

from __future__ import annotations

import asyncio

from tests.unit.gateway.harness import LIMIT_S, running_gateway
from tests.unit.gateway.test_session import append, appends, sent
from tests.unit.gateway.test_states import AT, SESSION, START, TOKEN, Rig
from tests.unit.gateway.world import RATE

from stenoflow.bus.entry import END_ID
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.base import Idle
from stenoflow_gateway.session.machine import Session
from stenoflow_gateway.session.states import State


class Clocked(Rig):
    """A session whose clock moves when told."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = self.link.machine = Session(SESSION, TOKEN, {"live": 12, "file": 60}, AT, Idle(30, 100))
        self.now = AT.monotonic
        self.tell(self.opened(self.text(START)))

    def tell(self, event: on.Event) -> list[on.Effect]:
        return list(self.machine.receive(event, on.Moment(self.now, AT.wall_ms)))

    def wait(self, seconds: float) -> tuple[list[str], list[on.Effect]]:
        """So long nothing comes; the codes of all warnings, and the other effects."""
        self.now += seconds
        effects = self.tell(on.Timer())
        return [message.code for message in sent(effects) if isinstance(message, wire.Warning)], effects


def test_a_silent_client_is_warned_once_and_then_its_session_ends_as_if_it_had_said_stop() -> None:
    rig = Clocked()
    assert rig.wait(29)[0] == []
    assert rig.wait(1)[0] == ["idle"]
    assert rig.wait(69)[0] == []
    codes, effects = rig.wait(1)
    assert codes == ["idle_ended"]
    [end] = appends(effects)
    assert (end.id, end.entry.marks[0].who) == (END_ID, "gateway")
    assert rig.machine.state is State.STOPPING
    assert rig.wait(200)[0] == [], "it is told once"
    append(rig, end)


def test_sound_marks_and_frames_without_samples_are_signs_of_life() -> None:
    for sign in (
        on.Binary(encode_frame(AudioFrame(0, 0, bytes(200)))),
        on.Binary(encode_frame(AudioFrame(0, 0, b""))),
        on.Text(wire.Finalize().model_dump_json()),
        on.Text(wire.Pause().model_dump_json()),
    ):
        rig = Clocked()
        assert rig.wait(30)[0] == ["idle"]
        rig.tell(sign)
        assert rig.wait(29)[0] == []
        assert rig.wait(1)[0] == ["idle"], "it counts anew"


def test_a_client_that_waits_for_the_window_is_not_idle() -> None:
    rig = Clocked()
    for begin in range(0, 11 * RATE, RATE):
        rig.tell(on.Binary(encode_frame(AudioFrame(0, begin, bytes(2 * RATE)))))
    assert rig.wait(1000)[0] == []
    assert rig.machine.state is State.STREAMING


def test_who_has_stopped_may_be_silent() -> None:
    rig = Clocked()
    rig.text(wire.Stop())
    assert rig.wait(1000)[0] == []


async def test_a_session_that_was_left_alone_ends_by_itself() -> None:
    async with running_gateway() as running:
        running.gateway.idle = Idle(0.4, 1.2)
        async with running.dial() as caller:
            await caller.start()
            await caller.until("ended")
            warned = [message.code for message in caller.seen if message.type == "warning"]
            assert warned == ["idle", "idle_ended"]
            assert await caller.closed() == 1000


async def test_a_socket_that_answers_no_ping_is_taken_for_dead() -> None:
    async with (
        running_gateway(settings={"ping_s": 0.2}) as running,
        running.dial(ping_interval=None) as caller,
    ):
        await caller.start()
        caller.socket.transport.pause_reading()  # it neither reads nor answers, and nobody closed it
        async with asyncio.timeout(LIMIT_S):
            while running.gateway._connections:
                await asyncio.sleep(0.01)
        caller.socket.transport.abort()
