"""Watchers: what was said so far, then live, at any gateway; a slow one harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import websockets
from tests.unit.gateway.harness import LIMIT_S, Caller, Running, running_gateway, serving
from tests.unit.gateway.test_app import heard
from tests.unit.gateway.test_sessions_api import said
from tests.unit.gateway.world import UTTERANCE, sound

from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.protocol import messages as wire
from stenoflow.runtime.spotted import Occurrence, spotted_mark
from stenoflow_gateway.sockets import outgoing


@contextlib.asynccontextmanager
async def watching(running: Running, session: str) -> AsyncIterator[Caller]:
    url = running.url.replace("http", "ws") + f"/v1/sessions/{session}/captions"
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol(wire.SUBPROTOCOL)]) as socket:
        yield Caller(socket)


async def test_watchers_at_any_gateway_see_all_from_the_beginning_to_the_end() -> None:
    async with running_gateway() as first, serving(first.bus, first.echo) as second, first.dial() as caller:
        started = await caller.start()
        await said(caller, UTTERANCE)
        async with watching(first, started.session) as here, watching(second, started.session) as there:
            for watcher in (here, there):
                assert (await watcher.until("final")).text == heard(0, 1600), "what was said before it came"
            await caller.say(UTTERANCE, sound(UTTERANCE, UTTERANCE + 800))
            for watcher in (here, there):
                assert (await watcher.until("partial")).end == UTTERANCE + 800
            await caller.say(UTTERANCE + 800, sound(UTTERANCE + 800, 2 * UTTERANCE))
            await caller.send(wire.Stop())
            for watcher in (here, there):
                ended = await watcher.until("ended")
                assert ended.tracks[0].utterances == 2
                assert await watcher.closed() == 1000
                assert [final.text for final in watcher.finals()] == [heard(0, 1600), heard(1600, 3200)]
                assert {message.type for message in watcher.seen} <= {"final", "partial", "quality", "ended"}
        async with watching(second, started.session) as late:
            await late.until("ended")
            assert [final.text for final in late.finals()] == [heard(0, 1600), heard(1600, 3200)]


async def test_a_new_epoch_goes_on_and_nothing_comes_twice() -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        await said(caller)
        async with watching(running, started.session) as watcher:
            await watcher.until("final", lambda final: final.end == 2 * UTTERANCE)
            [track] = (await running.bus.records().get(started.session)).track_keys()
            running.bus.lose(LogKey(track, LogName.AUDIO))
            await caller.say(2 * UTTERANCE, sound(2 * UTTERANCE, 2 * UTTERANCE + 100))
            status = await caller.until("status", lambda message: message.status == "rewind")
            await caller.say(status.next, sound(status.next, 3 * UTTERANCE))
            await watcher.until("final", lambda final: final.end == 3 * UTTERANCE)
            assert [final.begin for final in watcher.finals()] == [0, 1600, 3200]


async def test_a_watcher_that_does_not_read_is_given_up_and_the_call_does_not_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outgoing, "STUCK_S", 0.2)
    async with running_gateway(text="word " * 20_000) as running, running.dial() as caller:
        started = await caller.start()
        url = running.url.replace("http", "ws") + f"/v1/sessions/{started.session}/captions"
        async with websockets.connect(url, max_queue=1) as slow, watching(running, started.session) as good:
            slow.transport.pause_reading()
            for begin in range(0, 100 * UTTERANCE, UTTERANCE):
                await caller.say(begin, sound(begin, begin + UTTERANCE))
                await caller.until("final", lambda final, end=begin + UTTERANCE: final.end == end)
                await good.until("final", lambda final, end=begin + UTTERANCE: final.end == end)
                if not running.gateway._watchers or len(running.gateway._watchers) == 1:
                    break
            async with asyncio.timeout(LIMIT_S):
                while len(running.gateway._watchers) > 1:
                    await asyncio.sleep(0.01)
            slow.transport.abort()


async def test_watchers_are_told_of_spotted_phrases_at_once_and_late_ones_with_the_final() -> None:
    mark = spotted_mark(700, "decoder", [Occurrence("ada", 100, 600, 0.9)])
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        record = await running.bus.records().get(started.session)
        assert record is not None
        [track] = record.track_keys()
        logs = running.bus.logs()
        async with watching(running, started.session) as watcher:
            await said(caller, UTTERANCE // 2)
            await watcher.until("partial")
            await logs.publish([(LogKey(track, LogName.LIVE), Entry(track, Kind.LIVE, 800, 800, marks=(mark,)))])
            occurrence = await watcher.until("spotted")
            assert (occurrence.phrase, occurrence.track, occurrence.end) == ("ada", 0, 600)
            tail = await logs.tail(LogKey(track, LogName.FINALS))
            assert tail is not None
            final = wire.Final(track=0, utterance=0, begin=0, end=900, text="ada", words=(), confidence=1.0)
            entry = Entry(track, Kind.FINAL, 0, 900, data=final.model_dump_json().encode(), marks=(mark,))
            await logs.append_finals([(LogKey(track, LogName.FINALS), tail.id, [(EntryId(900, 1), entry)])])
            await watcher.until("final")
            assert [message.type for message in watcher.seen].count("spotted") == 1, "once"
        async with watching(running, started.session) as late:
            await late.until("final")
            assert [message.type for message in late.seen] == ["spotted", "final"]


async def test_a_watcher_of_nothing_hears_so() -> None:
    async with running_gateway() as running, watching(running, "s00-ffffffffffffffff") as watcher:
        assert (await watcher.until("error")).code == "unknown_session"
        assert await watcher.closed() == 4404


async def test_a_foreign_page_may_not_watch() -> None:
    async with running_gateway() as running:
        url = running.url.replace("http", "ws") + "/v1/sessions/s00-ffffffffffffffff/captions"
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(url, origin="https://elsewhere.example"):
                pass
        assert refused.value.response.status_code == 403


async def test_watchers_of_a_session_that_is_deleted_hear_its_end() -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        await said(caller)
        async with watching(running, started.session) as watcher:
            await watcher.until("final")
            await running.bus.records().delete(started.session)
            record = await running.bus.records().get(started.session)
            await running.gateway.janitor.end(record)
            await watcher.until("ended")


async def test_a_drain_sends_watchers_elsewhere() -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        async with watching(running, started.session) as watcher:
            await said(caller)
            await watcher.until("final")
            draining = asyncio.create_task(running.gateway.drain())
            await watcher.until("reconnect")
            assert await watcher.closed() == 1012
            await asyncio.wait_for(draining, LIMIT_S)


async def test_watchers_outlive_a_redis_that_goes_and_comes_back() -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        running.bus.faults.unavailable = True
        url = running.url.replace("http", "ws") + f"/v1/sessions/{started.session}/captions"
        async with websockets.connect(url) as socket:
            assert "bus_unavailable" in await socket.recv()
        running.bus.faults.unavailable = False
        async with watching(running, started.session) as watcher:
            await said(caller, UTTERANCE)
            await watcher.until("final")
            running.bus.restart(empty=False)
            await caller.say(UTTERANCE, sound(UTTERANCE, 2 * UTTERANCE))
            await watcher.until("final", lambda final: final.end == 2 * UTTERANCE)
            assert [final.begin for final in watcher.finals()] == [0, 1600]
