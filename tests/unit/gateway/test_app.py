"""The gateway over real sockets and the in-memory bus."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
import structlog
import websockets
from tests.unit.gateway.harness import LIMIT_S, running_gateway, serving
from tests.unit.gateway.world import RATE, UTTERANCE, sound

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory.claims import MemoryClaims
from stenoflow.bus.records import NEEDED, SessionState, Stages, WorkerStatus
from stenoflow.protocol import messages as wire


def heard(begin: int, end: int) -> str:
    return json.dumps([begin, end, sum(sound(begin, end))])


async def test_a_call_from_start_to_ended() -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start(tracks=2)
        assert (started.bundle, [track.next for track in started.tracks]) == ("test", [0, 0])
        for track in (0, 1):
            for begin in range(0, 5000, 500):
                await caller.say(begin, sound(begin, begin + 500), track)
        await caller.until("ack", lambda ack: all(track.received == 5000 for track in ack.tracks))
        await caller.send(wire.Stop())
        ended = await caller.until("ended")
        assert await caller.closed() == 1000
        for track in (0, 1):
            texts = [final.text for final in caller.finals() if final.track == track]
            assert texts == [heard(0, 1600), heard(1600, 3200), heard(3200, 4800), heard(4800, 5000)]
        assert [(track.received, track.committed, track.utterances) for track in ended.tracks] == [(5000, 5000, 4)] * 2
        record = await running.bus.records().get(started.session)
        assert record is not None
        assert record.state is SessionState.ENDED


async def test_partials_progress_and_latency_come_while_a_call_runs() -> None:
    async with running_gateway() as running, running.dial() as caller:
        await caller.start()
        await caller.say(0, sound(0, UTTERANCE // 2))
        partial = await caller.until("partial")
        assert partial.end == UTTERANCE // 2
        progress = await caller.until("progress")
        assert progress.tracks[0].received == UTTERANCE // 2
        latency = next(message for message in caller.seen if message.type == "latency")
        assert latency.look_ahead_ms == 160


async def test_a_cut_socket_is_resumed_while_the_old_one_is_half_dead() -> None:
    async with running_gateway() as running, running.dial() as old:
        started = await old.start()
        await old.say(0, sound(0, 4000))
        await old.until("ack", lambda ack: ack.tracks[0].received == 4000)
        token = wire.Resume(token=started.resume_token, tracks=(wire.ResumeTrack(track=0, committed=0),))
        async with running.dial() as new:
            resumed = await new.start(resume=token)
            assert resumed.session == started.session
            assert resumed.tracks[0].next == 4000
            error = await old.until("error")
            assert error.code == "superseded"
            assert await old.closed() == 4409
            await new.say(4000, sound(4000, 5000))
            await new.send(wire.Stop())
            await new.until("ended")
            assert [final.text for final in new.finals()] == [
                heard(0, 1600),
                heard(1600, 3200),
                heard(3200, 4800),
                heard(4800, 5000),
            ]


async def test_another_gateway_goes_on_with_a_session() -> None:
    async with running_gateway() as first, serving(first.bus, first.echo) as second:
        async with first.dial() as caller:
            started = await caller.start()
            await caller.say(0, sound(0, 2000))
            await caller.until("final")
            await caller.until("ack", lambda ack: ack.tracks[0].committed == 1600)
        token = wire.Resume(token=started.resume_token, tracks=(wire.ResumeTrack(track=0, committed=1600),))
        async with second.dial() as caller:
            resumed = await caller.start(resume=token)
            assert (resumed.tracks[0].next, resumed.tracks[0].committed) == (2000, 1600)
            await caller.say(2000, sound(2000, 3000))
            await caller.send(wire.Stop())
            ended = await caller.until("ended")
            assert [final.begin for final in caller.finals()] == [1600], "what the client has does not come again"
            assert ended.tracks[0].utterances == 2


async def test_an_empty_redis_opens_a_new_epoch_and_the_client_rewinds() -> None:
    async with running_gateway() as running, running.dial() as caller:
        await caller.start()
        await caller.say(0, sound(0, 2000))
        await caller.until("ack", lambda ack: ack.tracks[0].committed == 1600)
        running.bus.restart(empty=True)
        await running.echo.announce()
        await caller.say(2000, sound(2000, 2100))
        status = await caller.until("status", lambda message: message.status == "rewind")
        assert status.next == 1600
        await caller.say(2100, sound(2100, 2200))  # sent before the rewind was heard: dropped
        await caller.say(1600, sound(1600, 3200))
        await caller.send(wire.Stop())
        await caller.until("ended")
        assert [final.text for final in caller.finals()] == [heard(0, 1600), heard(1600, 3200)]


async def test_redis_that_is_full_or_away_delays_and_loses_nothing() -> None:
    async with running_gateway() as running, running.dial() as caller:
        await caller.start()
        running.bus.faults.full = True
        await caller.say(0, sound(0, 1000))
        await caller.until("status", lambda message: message.status == "behind")
        running.bus.faults.full = False
        await caller.until("status", lambda message: message.status == "normal")
        running.bus.faults.unavailable = True
        running.echo.asleep = True
        await caller.say(1000, sound(1000, 2000))
        await caller.until("ack")
        running.bus.faults.unavailable = False
        await caller.until("ack", lambda ack: ack.tracks[0].received == 2000)


async def test_a_call_too_many_is_refused_and_the_others_go_on() -> None:
    async with running_gateway(places=1) as running, running.dial() as first:
        await first.start()
        async with running.dial() as second:
            await second.send(wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),)))
            error = await second.until("error")
            assert (error.code, error.retryable) == ("at_capacity", True)
            assert error.retry_after_ms is not None
            assert await second.closed() == 4429
        await first.say(0, sound(0, UTTERANCE))
        await first.until("final")


async def test_calls_that_were_admitted_at_one_moment_are_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_gateway(places=1) as running, running.dial() as first, running.dial() as second:
        # Both asked before either was opened: the second look is what is left.
        monkeypatch.setattr(MemoryClaims, "open_tracks", _none_open)
        await first.start()
        await second.send(wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),)))
        assert (await second.until("error")).code == "at_capacity"
        refused = next(each for each in running.bus._state.records if each != first.seen[0].session)
        store = running.bus.logs().store
        key = running.bus._state.records[refused].track_keys()[0]
        tail = store.tail(LogKey(key, LogName.AUDIO))
        assert tail is None or tail.entry.ends, "its places are free at once"


async def _none_open(_: MemoryClaims) -> int:
    return 0


async def test_the_room_for_more_knows_both_passes() -> None:
    async with running_gateway(places=5) as running, httpx.AsyncClient(base_url=running.url) as http:
        again = WorkerStatus("s", Stages.SECOND_PASS, 3, 0, "whisper-tiny.en")
        await running.bus.records().announce(again, SystemClock().wall_ms())
        async with running.dial() as caller:
            await caller.start()
            taken = len(caller.seen[0].tracks)
            room = (await http.get("/v1/capacity")).json()
            assert (room["calls"], room["tracks"], room["stages"]["decoder"]) == (2, 5 - taken, 5 - taken)
            assert room["bundles"] == {"test": 5 - taken}
            assert room["second_passes"] == {"whisper-tiny.en": 3 - taken}


async def test_as_many_calls_begin_as_capacity_says_and_the_next_is_refused() -> None:
    async with (
        running_gateway(places=5) as running,
        httpx.AsyncClient(base_url=running.url) as http,
        contextlib.AsyncExitStack() as calls,
    ):
        room = (await http.get("/v1/capacity")).json()
        assert (room["calls"], room["tracks"]) == (2, 5)
        begun = [await calls.enter_async_context(running.dial()) for _ in range(room["calls"])]
        for caller in begun:
            await caller.start(tracks=2)
        late = await calls.enter_async_context(running.dial())
        await late.send(wire.Start(tracks=tuple(wire.TrackRequest(name=f"t{n}", sample_rate=RATE) for n in range(2))))
        error = await late.until("error")
        assert (error.code, error.retryable, error.retry_after_ms) == ("at_capacity", True, 2000)
        assert (await http.get("/v1/capacity")).json() == {
            "calls": 0,
            "tracks": 1,
            "stages": dict.fromkeys(NEEDED, 1),
            "bundles": {"test": 1},
            "second_passes": {},
        }
        async with asyncio.timeout(LIMIT_S):
            while "stenoflow_room_calls 0.0" not in (await http.get("/metrics")).text:
                await asyncio.sleep(0.05)
        for caller in begun:
            await caller.say(0, sound(0, UTTERANCE))
            await caller.until("final")


async def test_a_redis_that_is_nearly_full_has_room_for_none() -> None:
    async with running_gateway(places=5) as running:
        running.gateway.admission.memory_fraction = 0.7
        room = await running.gateway.admission.room()
        assert (room.calls, room.tracks, room.bundles) == (0, 0, {"test": 0})


async def test_redis_that_goes_while_readiness_is_asked_is_not_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> list[str]:
        raise BusUnavailable("Redis does not answer")

    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        monkeypatch.setattr(running.gateway, "second_passes", gone)
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "Redis does not answer\n")


async def test_a_stage_without_workers_is_named() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        assert (await http.get("/readyz")).status_code == 200
        await running.echo.withdraw(Stages.ACOUSTIC)
        running.gateway.admission._workers_at = float("-inf")
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "no worker for: acoustic\n")
        assert (await http.get("/healthz")).status_code == 200
        async with running.dial() as caller:
            await caller.send(wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),)))
            error = await caller.until("error")
            assert error.code == "no_workers"
            assert "acoustic" in error.message


async def test_metrics_have_the_names_of_the_measuring_rules() -> None:
    async with running_gateway() as running, running.dial() as caller, httpx.AsyncClient(base_url=running.url) as http:
        await caller.start()
        await caller.say(0, sound(0, UTTERANCE))
        await caller.until("final")
        text = (await http.get("/metrics")).text
        for name in ("chunk", "word", "final", "endpoint"):
            assert f"stenoflow_{name}_seconds_count 1.0" in text
        assert "stenoflow_lag_seconds 0.0" in text


async def test_a_token_that_names_no_shard_of_this_server_opens_nothing() -> None:
    """Nobody would ever work there."""
    async with running_gateway() as running, running.dial() as client:
        track = wire.TrackRequest(name="a", sample_rate=RATE)
        token = wire.Resume(token="s99-0123456789abcdef.secret")
        await client.send(wire.Start(tracks=(track,), resume=token))
        assert (await client.until("error")).code == "unknown_token"
        assert await client.closed() == 4404
        assert await running.bus.records().sessions() == []


BEYOND_ALL_TIME = json.dumps(
    {
        "type": "start",
        "tracks": [{"name": "a", "sample_rate": RATE}],
        "resume": {"token": "s00-0123456789abcdef.secret", "tracks": [{"track": 0, "committed": 2**62}]},
    }
)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (["no json"], "malformed_message"),
        (['{"type": "dance"}'], "unknown_message"),
        (['{"type": "start", "tracks": [], "dance": 1}'], "invalid_message"),
        ([b"\x01\x00"], "audio_before_start"),
        (["START", b"\x01\x00\x00"], "malformed_frame"),
        (["START", b"\x01\x05\x00\x00" + bytes(8) + b"ab"], "unknown_track"),
        (["START", b"\x01\x00\x00\x00" + bytes(8) + b"abc"], "odd_byte_count"),
        (["START", b"\x01\x00\x00\x00" + bytes(8) + bytes(2 * 2 * RATE + 2)], "oversized_frame"),
        (["START", "START"], "already_started"),
        (["START", '{"type": "stop", "track": 7}'], "unknown_track"),
        ([BEYOND_ALL_TIME], "invalid_message"),  # a position that no log can have
        (["START", '{"type": "stop"}', b"\x01\x00\x00\x00" + bytes(8) + b"ab"], "audio_after_stop"),
        (["x" * 70_000], "oversized_message"),
    ],
)
async def test_bad_input_harms_no_other_session(sent: list[str | bytes], code: str) -> None:
    start = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),)).model_dump_json()
    async with running_gateway() as running, running.dial() as good, running.dial() as bad:
        running.echo.asleep = True
        await good.start()
        await good.say(0, sound(0, UTTERANCE))
        for message in sent:
            await bad.socket.send(start if message == "START" else message)
            if message == "START" and not any(each.type == "started" for each in bad.seen):
                await bad.until("started")
        error = await bad.until("error")
        assert (error.code, error.retryable) == (code, False)
        assert await bad.closed() == 4400
        running.echo.asleep = False
        await good.until("final", lambda final: final.text == heard(0, UTTERANCE))


async def test_sound_ten_times_too_fast_ends_its_own_session_alone() -> None:
    """Nobody decodes here, as where workers are as fast as speech: the window does not move."""
    async with running_gateway() as running, running.dial() as good, running.dial() as fast:
        running.echo.asleep = True
        for caller in (good, fast):
            await caller.start()
        await good.say(0, sound(0, UTTERANCE))
        for second in range(20):
            with contextlib.suppress(websockets.ConnectionClosed):
                await fast.say(second * RATE, sound(second * RATE, (second + 1) * RATE))
        error = await fast.until("error")
        assert (error.code, error.retryable) == ("window_exceeded", False)
        assert await fast.closed() == 4400
        running.echo.asleep = False
        await good.until("final", lambda final: final.text == heard(0, UTTERANCE))


async def test_a_foreign_page_is_refused() -> None:
    async with running_gateway() as running:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with running.dial(origin="https://elsewhere.example"):
                pass
        assert refused.value.response.status_code == 403
        async with running.dial(origin=running.url) as caller:
            await caller.start()


async def test_without_the_subprotocol_a_sentence_says_so() -> None:
    async with running_gateway() as running, websockets.connect(running.stream_url) as socket:
        assert "unknown_subprotocol" in await socket.recv()


async def test_a_drain_sends_clients_elsewhere_and_the_session_stays() -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        draining = asyncio.create_task(running.gateway.drain())
        await caller.until("reconnect")
        assert await caller.closed() == 1012
        await asyncio.wait_for(draining, LIMIT_S)
        record = await running.bus.records().get(started.session)
        assert record is not None
        assert record.state is SessionState.OPEN
        async with running.dial() as late:
            await late.until("reconnect")


async def test_neither_words_nor_tokens_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with structlog.testing.capture_logs() as lines:
        async with running_gateway(text="canary sentence") as running:
            async with running.dial() as caller:
                started = await caller.start()
                await caller.say(0, sound(0, UTTERANCE + 100))
                await caller.until("final", lambda final: final.text == "canary sentence")
            token = wire.Resume(token=started.resume_token)
            async with running.dial() as caller:
                await caller.start(resume=token)
                await caller.socket.send('{"type": "start", "secret": "canary"}')
                await caller.closed()
            wrong = wire.Resume(token=started.session + ".canary-canary-canary")
            async with running.dial() as caller:
                tracks = (wire.TrackRequest(name="canary", sample_rate=RATE),)
                await caller.send(wire.Start(tracks=tracks, resume=wrong))
                assert (await caller.until("error")).code == "unknown_token"
    logged = repr(lines) + caplog.text
    assert lines, "nothing was logged at all"
    assert "canary" not in logged
    assert started.resume_token.split(".")[1] not in logged


async def test_a_bug_ends_its_own_session_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_gateway() as running, running.dial() as good, running.dial() as unlucky:
        await good.start()
        await unlucky.start()
        machine = next(
            each.machine for each in running.gateway._connections if each.machine.id == unlucky.seen[0].session
        )
        monkeypatch.setattr(machine, "_sound", None)
        await unlucky.say(0, sound(0, 100))
        assert await unlucky.closed() == 1011
        await good.say(0, sound(0, UTTERANCE))
        await good.until("final")


async def test_the_page_and_the_sample_are_served(tmp_path: object) -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        assert "<html" in (await http.get("/")).text
        assert (await http.get("/js/messages.js")).status_code == 200
        sample = await http.get("/sample.flac")
        assert sample.status_code in (200, 404)


async def test_the_page_runs_nothing_from_elsewhere() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        for path in ("/", "/js/page.js"):
            policy = (await http.get(path)).headers["content-security-policy"]
            assert "default-src 'self'" in policy and "unsafe" not in policy
