"""The gateway's small parts: outbox, admission, janitor, appender, tokens, start-up."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.gateway.test_states import Session_record

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import ClientError
from stenoflow.base.ids import Epoch, SessionId
from stenoflow.bus.claims import Claims
from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.logs import Full, LogKey, LogName
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import (
    ABANDONED_S,
    NEEDED,
    Opened,
    SessionRecord,
    SessionState,
    Stages,
    TrackInfo,
    WorkerStatus,
)
from stenoflow.protocol import messages as wire
from stenoflow_gateway.__main__ import main
from stenoflow_gateway.access.tenants import Limits, Tenants
from stenoflow_gateway.admission import Admission, places, served
from stenoflow_gateway.janitor import Janitor
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.session.resume_tokens import hash_of, make_token, session_of
from stenoflow_gateway.sockets.appender import Appender
from stenoflow_gateway.sockets.outbox import MAX_CHARACTERS, Outbox
from stenoflow_gateway.sockets.outgoing import Outgoing


class FakeClock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return int(self.now * 1000)


def metrics() -> GatewayMetrics:
    return GatewayMetrics(CollectorRegistry(), lambda: 0.0, lambda: 0)


def worker(number: int, stage: Stages, held: int, bundle: str = "") -> WorkerStatus:
    return WorkerStatus(f"w{number}", stage, held, 0, bundle)


# ---------------------------------------------------------------- outbox


def test_a_newer_partial_takes_the_place_of_an_older_one_and_finals_stay() -> None:
    outbox = Outbox()
    for text, key in (("p1", "partial"), ("f1", None), ("p2", "partial"), ("f2", None)):
        outbox.put(text, key)
    assert [outbox.take() for _ in range(4)] == ["f1", "p2", "f2", None]


def test_an_ack_does_not_overtake_the_final_that_it_counts() -> None:
    outbox = Outbox()
    outbox.put("ack without", "ack")
    outbox.put("final")
    outbox.put("ack with", "ack")
    assert [outbox.take(), outbox.take()] == ["final", "ack with"]


def test_superseded_messages_never_overflow_it_but_finals_do() -> None:
    outbox = Outbox()
    for _ in range(100):
        outbox.put("x" * (MAX_CHARACTERS // 10), "partial")
    assert not outbox.overflows
    for _ in range(11):
        outbox.put("x" * (MAX_CHARACTERS // 10))
    assert outbox.overflows


class UnreadSocket:
    """A client that reads nothing for so many messages, and then goes on."""

    def __init__(self, unread: int = 0) -> None:
        self.unread = unread
        self.sent: list[str] = []
        self.code: int | None = None
        self.never = asyncio.Event()

    async def receive(self) -> Any:
        await self.never.wait()

    async def send_text(self, data: str) -> None:
        self.unread -= 1
        if self.unread >= 0:
            await self.never.wait()
        self.sent.append(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.code = code


async def test_a_socket_that_does_not_read_is_told_why_it_is_closed_and_may_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stenoflow_gateway.sockets.outgoing.STUCK_S", 0.01)
    stuck = UnreadSocket(unread=1)
    outgoing = Outgoing(stuck, "s00-0123456789abcdef", metrics())
    outgoing.put("final")
    await asyncio.wait_for(outgoing.run(), 5)
    [error] = [wire.parse_server(text) for text in stuck.sent]
    assert (error.code, error.retryable, stuck.code) == ("slow_reader", True, 4408)


async def test_a_dead_reader_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenoflow_gateway.sockets.outgoing.STUCK_S", 0.01)
    monkeypatch.setattr("stenoflow_gateway.sockets.outgoing.CLOSE_S", 0.01)
    dead = UnreadSocket(unread=100)
    outgoing = Outgoing(dead, "s00-0123456789abcdef", metrics())
    outgoing.put("final")
    await asyncio.wait_for(outgoing.run(), 5)
    assert (dead.sent, dead.code) == ([], 4408)


async def test_a_socket_for_which_too_much_waits_gets_it_and_the_reason_why_no_more_comes() -> None:
    slow = UnreadSocket()
    outgoing = Outgoing(slow, "s00-0123456789abcdef", metrics())
    for _ in range(11):
        outgoing.put("x" * (MAX_CHARACTERS // 10))
    await asyncio.wait_for(outgoing.run(), 5)
    assert len(slow.sent) == 12 and wire.parse_server(slow.sent[-1]).code == "slow_reader"
    assert slow.code == 4408


# ---------------------------------------------------------------- admission


@pytest.mark.parametrize(
    ("held", "expected"), [([], 0), ([10], 10), ([10, 10], 10), ([10, 30], 10), ([10, 20, 30], 30)]
)
def test_one_worker_may_die(held: list[int], expected: int) -> None:
    workers = [worker(number, Stages.DECODER, count) for number, count in enumerate(held)]
    assert places([*workers, worker(9, Stages.FEATURES, 1000)], Stages.DECODER) == expected


def test_a_bundle_is_named_or_the_default_is_taken() -> None:
    workers = [worker(0, stage, 1, "en-small abc123") for stage in (Stages.ACOUSTIC, Stages.DECODER)]
    assert served(workers, "").bundle == served(workers, "en-small").bundle == "en-small"
    with pytest.raises(ClientError, match="served are: en-small") as refused:
        served(workers, "fr-large")
    assert refused.value.code == "unknown_bundle"


def two_bundles(features: str = "") -> list[WorkerStatus]:
    """One features worker; acoustic and decoder of two bundles, three places and one."""
    workers = [worker(0, Stages.FEATURES, 9)]
    for number, (name, room) in enumerate((("a-large@1", 1), ("en-small@2", 3)), 1):
        details = {"look_ahead_ms": str(100 * number), "features": features if number == 1 else ""}
        workers.append(WorkerStatus(f"a{number}", Stages.ACOUSTIC, room, 0, name, details=details))
        workers.append(worker(number, Stages.DECODER, 9, name))
    return workers


def test_of_several_bundles_one_is_chosen_and_all_are_listed() -> None:
    workers = two_bundles('{"kind":"waveform"}')
    assert served(workers, "", "en-small").bundle == "en-small"
    assert served(workers, "", "gone").bundle == "a-large"
    chosen = served(workers, "a-large", "en-small")
    assert (chosen.look_ahead_ms, chosen.features) == (100, '{"kind":"waveform"}')
    with pytest.raises(ClientError, match="served are: a-large, en-small"):
        served(workers, "fr-large")


def test_a_bundle_without_a_decoder_is_not_served() -> None:
    workers = [each for each in two_bundles() if each.stage is not Stages.DECODER]
    with pytest.raises(ClientError, match="acoustic of a-large, acoustic of en-small") as refused:
        served(workers, "a-large")
    assert (refused.value.code, refused.value.retryable) == ("no_workers", True)
    workers.append(worker(1, Stages.DECODER, 9, "en-small@2"))
    with pytest.raises(ClientError, match="served are: en-small"):
        served(workers, "a-large")


async def test_each_bundle_has_places_of_its_own() -> None:
    bus = MemoryBus(SystemClock())
    admission = Admission(bus.records(), partial(claims_of, bus), SystemClock(), "en-small")
    for each in two_bundles():
        await bus.records().announce(each, SystemClock().wall_ms())
    await admission.admit(call(3))
    large = msgspec.structs.replace(call(2), bundle="a-large")
    with pytest.raises(ClientError, match="acoustic stage takes 1"):
        await admission.admit(large)
    with pytest.raises(ClientError, match="acoustic stage takes 1"):
        await admission.check(large, Opened(dict.fromkeys(NEEDED, 2)))
    room = await admission.room()
    assert (room.tracks, room.bundles) == (3, {"a-large": 1, "en-small": 3})
    taken = msgspec.structs.replace(call(2), bundle="en-small")
    assert await bus.records().open(taken, opening_entries(taken)) is not None
    assert (await admission.room()).bundles == {"a-large": 1, "en-small": 1}


def claims_of(bus: MemoryBus, stage: Stages, model: str) -> Claims:
    return bus.claims(stage, "g", model)


def call(tracks: int, **settings: Any) -> SessionRecord:
    names = tuple(TrackInfo(str(number), "pcm_s16le", 16_000) for number in range(tracks))
    session = SessionId("s00-0123456789abcdef")
    return SessionRecord(session, Epoch("1"), 1, SessionState.OPEN, "", "live", "", names, settings)


async def test_a_call_gets_the_second_pass_that_is_served_unless_it_wants_none() -> None:
    bus = MemoryBus(SystemClock())
    admission = Admission(bus.records(), partial(claims_of, bus), SystemClock())
    for stage in NEEDED:
        await bus.records().announce(worker(0, stage, 9), SystemClock().wall_ms())
    assert (await admission.admit(call(1))).second_pass == ""
    with pytest.raises(ClientError, match="served are: none") as refused:
        await admission.admit(call(1, second_pass="whisper-tiny.en"))
    assert refused.value.code == "unknown_second_pass"
    await bus.records().announce(worker(1, Stages.SECOND_PASS, 2, "whisper-tiny.en"), SystemClock().wall_ms())
    admission = Admission(bus.records(), partial(claims_of, bus), SystemClock())
    assert (await admission.admit(call(2))).second_pass == "whisper-tiny.en"
    assert (await admission.admit(call(2, second_pass="whisper-tiny.en"))).second_pass == "whisper-tiny.en"
    assert (await admission.admit(call(2, second_pass="off"))).second_pass == ""
    assert (await admission.admit(call(3))).second_pass == "", "for want of places a call goes without"
    assert (await admission.going_on(call(3, second_pass="gone"))).second_pass == ""


async def test_the_second_look_refuses_what_both_gateways_admitted() -> None:
    bus = MemoryBus(SystemClock())
    admission = Admission(bus.records(), partial(claims_of, bus), SystemClock())
    for stage in NEEDED:
        await bus.records().announce(worker(0, stage, 2), SystemClock().wall_ms())
    await admission.admit(call(2))
    await admission.check(call(2), Opened(dict.fromkeys(NEEDED, 2)))
    with pytest.raises(ClientError) as refused:
        await admission.check(call(2), Opened(dict.fromkeys(NEEDED, 3)))
    assert (refused.value.code, refused.value.retryable) == ("at_capacity", True)


async def test_no_call_begins_when_redis_is_filling_up() -> None:
    bus = MemoryBus(SystemClock())
    admission = Admission(bus.records(), partial(claims_of, bus), SystemClock())
    for stage in NEEDED:
        await bus.records().announce(worker(0, stage, 2), SystemClock().wall_ms())
    admission.memory_fraction = 0.7
    with pytest.raises(ClientError, match="memory"):
        await admission.admit(call(1))


async def test_from_80_percent_of_memory_sound_is_held_and_an_end_is_not() -> None:
    bus = MemoryBus(SystemClock())
    record, key = await opened(bus, "s00-0123456789abcdef", 1)
    appender = Appender(bus.logs(), metrics())
    appender.memory_fraction = 0.8
    outcomes: list[Any] = []
    done = asyncio.Event()

    def note(outcome: Any) -> None:
        outcomes.append(outcome)
        if len(outcomes) == 2:
            done.set()

    track = record.track_keys()[0]
    sound = Entry(track, Kind.AUDIO, 0, 1, data=b"ab")
    end = Entry(track, Kind.AUDIO, 0, 0, marks=(Mark(MarkKind.END, 0, "client", 0),))
    appender.append(key, EntryId(1, 1), sound, note)
    appender.append(key, END_ID, end, note)
    running = asyncio.create_task(appender.run())
    await asyncio.wait_for(done.wait(), 5)
    running.cancel()
    assert isinstance(outcomes[0], Full)
    assert bus.logs().store.tail(key) is not None
    assert bus.logs().store.tail(key).entry.ends  # type: ignore[union-attr]


# ---------------------------------------------------------------- janitor


def nobodys(bus: MemoryBus, clock: FakeClock) -> Tenants:
    return Tenants(bus.doors(), Limits(), clock)


async def opened(bus: MemoryBus, session: str, connection: int) -> Any:
    import msgspec

    record = msgspec.structs.replace(
        Session_record(), id=SessionId(session), epoch=Epoch("e1"), connection=connection, token_hash=hash_of("t")
    )
    assert await bus.records().open(record, opening_entries(record)) is not None
    return record, LogKey(record.track_keys()[0], LogName.AUDIO)


async def test_an_abandoned_session_gets_its_end_and_then_its_record_follows() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    record, key = await opened(bus, "s00-0123456789abcdef", 1)
    lively, lively_key = await opened(bus, "s00-00000000000000aa", 1)
    janitor = Janitor(bus.records(), bus.logs(), clock, lambda: [lively], metrics(), nobodys(bus, clock))
    for _ in range(ABANDONED_S // 15 + 1):
        clock.now += 15
        await janitor.sign()
    await janitor.look()
    store = bus.logs().store
    tail = store.tail(key)
    assert tail is not None
    assert tail.entry.ends
    assert tail.entry.marks[0].who == "gateway"
    other = store.tail(lively_key)
    assert other is not None
    assert not other.entry.ends, "a session with a socket is left alone"
    await janitor.finish()
    assert (await bus.records().get(record.id)).state is SessionState.OPEN  # type: ignore[union-attr]
    finals = LogKey(record.track_keys()[0], LogName.FINALS)
    end = Entry(finals.track, Kind.FINAL, 0, 0, marks=(Mark(MarkKind.END, 0, "gateway", 0),))
    store.append([(finals, END_ID, end)])
    await janitor.finish()
    assert (await bus.records().get(record.id)).state is SessionState.ENDED  # type: ignore[union-attr]


async def test_the_sixty_seconds_count_only_while_redis_takes_writes() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    _, key = await opened(bus, "s00-0123456789abcdef", 1)
    janitor = Janitor(bus.records(), bus.logs(), clock, list, metrics(), nobodys(bus, clock))
    clock.now += ABANDONED_S + 1
    janitor._writable_since = clock.now  # a write was refused just now
    await janitor.look()
    tail = bus.logs().store.tail(key)
    assert tail is not None
    assert not tail.entry.ends
    clock.now += ABANDONED_S + 1
    await janitor.look()
    tail = bus.logs().store.tail(key)
    assert tail is not None
    assert tail.entry.ends


async def test_a_client_that_came_back_is_left_alone() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    record, _ = await opened(bus, "s00-0123456789abcdef", 1)
    janitor = Janitor(bus.records(), bus.logs(), clock, list, metrics(), nobodys(bus, clock))
    await janitor.end(record)
    assert await bus.records().connect(record.id, hash_of("t")) is not None
    await janitor.finish()
    assert janitor._ending == {}


# ---------------------------------------------------------------- tokens and start-up


def test_a_token_names_its_session() -> None:
    session = SessionId("s07-0123456789abcdef")
    assert session_of(make_token(session, "secret")) == session
    for bad in ("", "x", "s07-0123456789abcdef", "s07-0123456789abcdef.", "../../etc.passwd", "s0-1.x"):
        with pytest.raises(ClientError):
            session_of(bad)


def test_any_host_but_loopback_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "0.0.0.0"]) == 2
    assert "there is no secret for access tokens" in capsys.readouterr().err


def test_an_inherited_socket_must_be_loopback_too(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert main(["--fd", str(listener.fileno())]) == 2
    assert "there is no secret for access tokens" in capsys.readouterr().err


def test_a_port_that_is_taken_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert main(["--port", str(listener.getsockname()[1])]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_redis_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--redis", "redis://127.0.0.1:1/0"]) == 2
    assert "[" in capsys.readouterr().err
