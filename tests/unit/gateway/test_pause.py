"""Mute is a state: what is said meanwhile never gets beyond the door, time goes on, and any gateway knows."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.test_session import append, appends, say, sent
from tests.unit.gateway.test_states import SESSION, START, TOKEN, Rig, streaming
from tests.unit.gateway.world import RATE, World, heard_in, sound

from stenoflow.bus.entry import Entry, Kind, Mark, MarkKind
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.protocol import client_events as ce
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow_gateway.session import events as on


def log_of(rig: Rig) -> LogKey:
    return LogKey(rig.machine.tracks[0].key, LogName.AUDIO)


def pump(rig: Rig, effects: list[on.Effect]) -> None:
    """Carries all appends out."""
    waiting = appends(effects)
    while waiting:
        waiting += appends(append(rig, waiting.pop(0)))


def heard(entries: list[Any]) -> bytes:
    """What a stage hears of an audio log."""
    pcm = b""
    for _, entry in entries[1:]:
        assert entry.begin == len(pcm) // 2
        pcm += heard_in(entry)
    return pcm


def test_sound_of_a_paused_track_is_silence_without_bytes_and_time_goes_on() -> None:
    rig = streaming()
    pump(rig, say(rig, 0, 100))
    pump(rig, rig.text(wire.Pause()))
    pump(rig, say(rig, 100, 300))
    pump(rig, rig.text(wire.Unpause(track=0)))
    pump(rig, say(rig, 300, 400))
    entries = rig.world.server.logs[log_of(rig)]
    assert heard(entries) == sound(0, 100) + bytes(400) + sound(300, 400)
    assert sum(len(entry.data) for _, entry in entries) == 400, "what was muted is nowhere"
    marks = [(mark.kind, mark.at) for _, entry in entries for mark in entry.marks]
    assert marks == [(MarkKind.PAUSE, 100)], "the open utterance ends where the pause begins"


def test_a_frame_without_samples_says_that_all_before_it_was_silence() -> None:
    rig = streaming()
    pump(rig, rig.text(wire.Pause()))
    pump(rig, rig.tell(on.Binary(encode_frame(AudioFrame(0, 4000, b"")))))
    assert rig.machine.tracks[0].writer.received == 4000
    assert not any(message.type == "warning" for message in sent(say(rig, 5000, 5100))), "no jump: it is silence"
    pump(rig, rig.text(wire.Unpause()))
    assert [message.type for message in sent(say(rig, 9000, 9100))] == ["warning", "status"], "now it is one"


def test_silence_keeps_to_the_window() -> None:
    rig = streaming()
    rig.text(wire.Pause())
    [error] = sent(rig.tell(on.Binary(encode_frame(AudioFrame(0, 12 * RATE + 1, b"")))))
    assert error.code == "window_exceeded"


def test_a_pause_said_twice_is_one_and_the_rate_of_marks_cannot_keep_it_from_holding() -> None:
    rig = streaming()
    for _ in range(20):
        rig.text(wire.Finalize())
    pump(rig, rig.text(wire.Pause()))
    rig.text(wire.Pause())
    rig.tell(on.AppendDone(rig.machine.tracks[0].key, None))
    assert rig.machine.tracks[0].writer.paused
    rig = streaming()
    pump(rig, rig.text(wire.Pause()))
    assert appends(rig.text(wire.Pause())) == []


def test_pauses_that_are_taken_back_at_once_pile_up_nowhere() -> None:
    rig = streaming()
    rig.tell(on.Binary(encode_frame(AudioFrame(0, 0, sound(0, 100)))))  # its append is in flight
    for _ in range(1000):
        rig.text(wire.Pause())
        rig.text(wire.Unpause())
    rig.text(wire.Pause())
    writer = rig.machine.tracks[0].writer
    assert writer.paused and len(writer._pauses) == 1


def test_a_gateway_that_takes_over_knows_that_the_track_is_paused() -> None:
    first = streaming()
    pump(first, say(first, 0, 100))
    pump(first, first.text(wire.Pause()))
    pump(first, say(first, 100, 200))
    server = first.world.server
    second = Rig()
    second.text(START.model_copy(update={"resume": wire.Resume(token=TOKEN)}))
    tails = [(server.tail(log_of(first)), server.tail(LogKey(first.machine.tracks[0].key, LogName.FINALS)))]
    started = sent(second.tell(on.Connected(server.connect(SESSION, TOKEN), tails)))[0]
    assert (started.tracks[0].next, started.tracks[0].paused) == (200, True)
    [effect] = appends(say(second, 200, 300))
    assert effect.entry.data == b"" and effect.entry.carry == {"paused": True}


def test_a_log_that_lost_its_end_is_paused_as_it_was_there() -> None:
    rig = streaming()
    pump(rig, say(rig, 0, 100))
    pump(rig, rig.text(wire.Pause()))
    pump(rig, say(rig, 100, 200))
    del rig.world.server.logs[log_of(rig)][2:]
    rig.tell(on.ServerChanged())
    rig.tell(on.TailRead(log_of(rig).track, rig.world.server.tail(log_of(rig))))
    assert not rig.machine.tracks[0].writer.paused


def test_a_muted_track_is_told_nothing_of_its_sound() -> None:
    rig = streaming()
    pump(rig, rig.text(wire.Pause()))
    key = rig.machine.tracks[0].key
    hint = {"code": "silent", "message": "only zeros come"}
    fields = {"level_db": -99.0, "clipping": 0.0, "snr_db": None, "bandwidth_hz": None, "hint": hint}
    live = Entry(key, Kind.LIVE, 100, 100, marks=(Mark(MarkKind.QUALITY, 100, "features", 1, fields),))
    assert sent(rig.tell(on.LiveRead(key, [live]))) == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["say", "pause", "resume", "append"]), st.integers(1, 3000)), max_size=25))
def test_any_order_of_sound_and_pauses_gives_what_was_said_and_nothing_else(steps: list[tuple[str, int]]) -> None:
    rig = streaming()
    in_flight: list[on.Append] = []
    expected, position, paused = b"", 0, False
    for step, length in steps:
        match step:
            case "say":
                end = min(position + length, 11 * RATE)
                in_flight += appends(say(rig, position, end))
                expected += bytes(2 * (end - position)) if paused else sound(position, end)
                position = end
            case "append" if in_flight:
                in_flight += appends(append(rig, in_flight.pop(0)))
            case "pause" | "resume":
                paused = step == "pause"
                in_flight += appends(rig.text(wire.Pause() if paused else wire.Unpause()))
            case _:
                pass
    while in_flight:
        in_flight += appends(append(rig, in_flight.pop(0)))
    assert heard(rig.world.server.logs[log_of(rig)]) == expected
    assert rig.machine.tracks[0].writer.paused == paused


class Muting(World):
    """A client that mutes now and then, in a world where all may break."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, faults=0.02)
        self.muted: list[tuple[int, int]] = []
        self.since: int | None = None

    def _push(self) -> None:
        if self.client.state.value in ("ended", "failed"):
            return
        if self.random.random() < 0.1 and not self.client.tracks[0].stop_asked:
            at = self.pushed[0]
            if self.since is None:
                self.since = at
                self._tell_client(ce.PauseAsked())
            else:
                self.muted.append((self.since, at))
                self.since = None
                self._tell_client(ce.UnpauseAsked())
        super()._push()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_breaks_no_muted_word_is_heard_and_no_other_is_lost(seed: int) -> None:
    world = Muting(seed)
    pieces: dict[tuple[int, int], bytes] = {}
    original = world.server.echo

    def note(session: Any) -> None:
        """The echo's ear, before it speaks."""
        record = world.server.records.get(session)
        if record is not None:
            for track in record.track_keys():
                for _, entry in world.server.logs.get(LogKey(track, LogName.AUDIO), [])[1:]:
                    for span in entry.spans:
                        pieces[span.begin, span.end] = bytes(entry.frames(span))
        original(session)

    world.server.echo = note  # type: ignore[method-assign]
    world.run(40_000)
    assert world.error is None
    muted = [*world.muted, *([(world.since, world.samples)] if world.since is not None else [])]
    for (begin, end), samples in pieces.items():
        assert samples == sound(begin, end)
        assert not any(begin < until and at < end for at, until in muted), f"[{begin}, {end}) was muted: {muted}"
