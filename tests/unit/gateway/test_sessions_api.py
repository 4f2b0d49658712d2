"""Sessions over HTTP: which there are, what was said, and their end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from tests.unit.gateway.harness import LIMIT_S, Caller, Running, running_gateway, serving
from tests.unit.gateway.test_app import heard
from tests.unit.gateway.test_states import SESSION, START
from tests.unit.gateway.world import RATE, UTTERANCE, sound

from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.records import SessionState
from stenoflow.protocol import messages as wire
from stenoflow_gateway.session.opening import new_record
from stenoflow_gateway.settings import GatewaySettings


async def said(caller: Caller, samples: int = 2 * UTTERANCE) -> None:
    """So much was said, and it is final."""
    await caller.say(0, sound(0, samples))
    await caller.until("ack", lambda ack: ack.tracks[0].committed == samples // UTTERANCE * UTTERANCE)


async def until_state(running: Running, session: str, state: SessionState) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (await running.bus.records().get(session)).state is not state:
            await asyncio.sleep(0.01)


async def test_open_sessions_and_ended_ones_are_listed_the_newest_first() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        assert (await http.get("/v1/sessions")).json() == {"sessions": []}
        async with running.dial() as first, running.dial() as second:
            one = await first.start(tracks=2, metadata={"queue": "billing"})
            await first.send(wire.Stop())
            await first.until("ended")
            await until_state(running, one.session, SessionState.ENDED)
            other = await second.start(retention_s=60)
            listed = (await http.get("/v1/sessions")).json()["sessions"]
            assert [each["session"] for each in listed] == [other.session, one.session]
            assert [each["state"] for each in listed] == ["open", "ended"]
            assert [each["retention_s"] for each in listed] == [60, 600]
            assert listed[1]["metadata"] == {"queue": "billing"}
            assert [track["name"] for track in listed[1]["tracks"]] == ["t0", "t1"]
            for state, expected in (("open", [other.session]), ("ended", [one.session]), ("broken", [])):
                answer = await http.get("/v1/sessions", params={"state": state})
                assert [each["session"] for each in answer.json()["sessions"]] == expected
            assert len((await http.get("/v1/sessions", params={"limit": 1})).json()["sessions"]) == 1


async def test_a_session_says_how_far_it_is() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http, running.dial() as caller:
        started = await caller.start()
        body = (await http.get(f"/v1/sessions/{started.session}")).json()
        assert (body["session"], body["state"], body["decoded_s"]) == (started.session, "open", [0.0])
        await said(caller)
        far = {"received_s": [2 * UTTERANCE / RATE], "decoded_s": [0.0]}
        [listed] = (await http.get("/v1/sessions", params={"progress": True})).json()["sessions"]
        assert listed == {name: body[name] for name in body} | far


async def test_of_many_sessions_the_newest_are_listed_however_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenoflow_gateway.routes.sessions.RECORDS_AT_ONCE", 2)
    async with (
        running_gateway() as running,
        httpx.AsyncClient(base_url=running.url) as http,
        contextlib.AsyncExitStack() as calls,
    ):
        begun = []
        for _ in range(5):
            caller = await calls.enter_async_context(running.dial())
            begun.append((await caller.start()).session)
        for limit in (1, 3, 9):
            listed = (await http.get("/v1/sessions", params={"limit": limit})).json()["sessions"]
            began = [each["began_ms"] for each in listed]
            assert len(listed) == min(limit, 5) and began == sorted(began, reverse=True)
        assert {each["session"] for each in listed} == set(begun)


@pytest.mark.parametrize(
    "session",
    [
        "s00-ffffffffffffffff",
        "s77-ffffffffffffffff",
        "nonsense",
        "s00-*",
        "claims:features",
        "%2e%2e",
        "s%C2%B2%C2%B2-f",
    ],
)
async def test_what_is_no_session_is_a_typed_404(session: str) -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        for path in ("", "/transcript"):
            answer = await http.get(f"/v1/sessions/{session}{path}")
            assert answer.status_code == 404
            assert answer.json().get("code", "unknown_session") == "unknown_session"
        assert (await http.delete(f"/v1/sessions/{session}")).status_code in (404, 405)


async def test_a_transcript_comes_while_the_call_runs_and_after_in_four_formats() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http, running.dial() as caller:
        started = await caller.start()
        await said(caller)
        path = f"/v1/sessions/{started.session}/transcript"
        text = (await http.get(path)).text
        assert text == heard(0, 1600) + "\n" + heard(1600, 3200) + "\n"
        await caller.send(wire.Stop())
        await caller.until("ended")
        await until_state(running, started.session, SessionState.ENDED)
        assert (await http.get(path)).text == text
        answers = {name: await http.get(path, params={"format": name}) for name in ("json", "srt", "vtt")}
        assert answers["json"].json()["utterances"][1]["begin"] == 0.1
        assert answers["srt"].text.startswith("1\n00:00:00,000 --> 00:00:00,100\n")
        assert answers["vtt"].text.startswith("WEBVTT\n\n00:00:00.000 --> ")
        assert answers["vtt"].headers["content-type"].startswith("text/vtt")
        assert (await http.get(path, params={"format": "docx"})).status_code == 422


async def test_a_transcript_spans_epochs_and_says_nothing_twice() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http, running.dial() as caller:
        started = await caller.start()
        await said(caller)
        [track] = (await running.bus.records().get(started.session)).track_keys()
        running.bus.lose(LogKey(track, LogName.AUDIO))
        await caller.say(2 * UTTERANCE, sound(2 * UTTERANCE, 2 * UTTERANCE + 100))
        status = await caller.until("status", lambda message: message.status == "rewind")
        await caller.say(status.next, sound(status.next, 3 * UTTERANCE))
        await caller.until("final", lambda final: final.end == 3 * UTTERANCE)
        text = (await http.get(f"/v1/sessions/{started.session}/transcript")).text
        assert text.splitlines() == [heard(begin, begin + 1600) for begin in (0, 1600, 3200)]


async def test_delete_ends_a_call_cleanly_and_nothing_stays() -> None:
    async with (
        running_gateway() as first,
        serving(first.bus, first.echo) as second,
        first.dial() as caller,
        httpx.AsyncClient(base_url=second.url) as http,
    ):
        started = await caller.start()
        await said(caller, 2 * UTTERANCE + 100)
        assert (await http.delete(f"/v1/sessions/{started.session}")).status_code == 202
        assert (await http.get(f"/v1/sessions/{started.session}")).status_code == 404
        ended = await caller.until("ended")
        assert caller.finals()[-1].end == 2 * UTTERANCE + 100, "what was said last still came"
        assert ended.tracks[0].utterances == 3
        assert await caller.closed() == 1000
        await until_state(first, started.session, SessionState.ENDED)
        record = await first.bus.records().get(started.session)
        assert await first.bus.logs().tail(LogKey(record.track_keys()[0], LogName.FINALS)) is None
        assert record.settings == {} and record.tracks[0].name == ""
        assert (await http.get("/v1/sessions")).json() == {"sessions": []}
        # Whoever comes back with the token of it hears that it is over; nothing rises from the dead.
        async with second.dial() as late:
            request = wire.TrackRequest(name="t0", sample_rate=16_000)
            await late.send(wire.Start(tracks=(request,), resume=wire.Resume(token=started.resume_token)))
            assert (await late.until("error")).code == "session_ended"


async def test_delete_of_an_ended_session_removes_what_is_kept() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http, running.dial() as caller:
        started = await caller.start()
        await said(caller)
        await caller.send(wire.Stop())
        await caller.until("ended")
        await until_state(running, started.session, SessionState.ENDED)
        assert (await http.delete(f"/v1/sessions/{started.session}")).status_code == 204
        assert (await http.delete(f"/v1/sessions/{started.session}")).status_code == 404
        assert (await http.get(f"/v1/sessions/{started.session}/transcript")).status_code == 404


async def test_nobody_sees_another_tenants_sessions() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http, running.dial() as caller:
        started = await caller.start()
        state = running.bus._state
        state.records[started.session] = replace(state.records[started.session], tenant="another")
        assert (await http.get("/v1/sessions")).json() == {"sessions": []}
        for method, path in (("GET", ""), ("GET", "/transcript"), ("DELETE", "")):
            assert (await http.request(method, f"/v1/sessions/{started.session}{path}")).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Host": "made-to-point-here.example"}, 403),
        ({"Host": "made-to-point-here.example", "Authorization": "Bearer x"}, 403),
    ],
)
async def test_pages_of_other_sites_get_nothing(headers: dict[str, str], status: int) -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        assert (await http.get("/v1/sessions", headers=headers)).status_code == status


async def test_redis_that_is_away_is_a_typed_503() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        running.bus.faults.unavailable = True
        answer = await http.get("/v1/sessions")
        running.bus.faults.unavailable = False
        assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "bus_unavailable", True)
        assert answer.headers["retry-after"] == "1"


def test_a_client_may_ask_for_less_and_gets_no_more_than_there_is() -> None:
    asked: dict[Any, int] = {None: 600, 60: 60, 86_400: 600}
    for wanted, kept in asked.items():
        record = new_record(SESSION, "hash", START.model_copy(update={"retention_s": wanted}), 1)
        assert min(record.retention_s, GatewaySettings().retention_s) == kept
