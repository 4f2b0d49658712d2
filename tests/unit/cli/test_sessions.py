"""Calls watched in a terminal: what the table says of them, and one that is followed to its end."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from rich.console import Console

from stenoflow.base.errors import ClientError, ConfigError
from stenoflow.protocol import messages as wire
from stenoflow_cli import sessions
from stenoflow_cli.gateway import GatewayClient
from stenoflow_cli.sessions import Call, follow, show_sessions, table
from tests.unit.gateway.harness import LIMIT_S, Caller, Running, running_gateway
from tests.unit.gateway.test_access import dial as dial_with
from tests.unit.gateway.test_access import guarded, token
from tests.unit.gateway.test_sessions_api import said
from tests.unit.gateway.world import RATE, UTTERANCE, sound

TOLD = {
    "session": "s00-1",
    "state": "open",
    "began_ms": 1_000,
    "tracks": [{"name": "agent"}, {"name": "customer"}],
    "received_s": [10.0, 9.0],
    "decoded_s": [9.5, 8.8],
}


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def console() -> Console:
    return Console(file=io.StringIO(), width=300)


async def looked(running: Running, **options: Any) -> list[dict[str, Any]]:
    out = console()
    await show_sessions(GatewayClient(running.url), out, once=True, as_json=True, **{"ended": False, **options})
    rows: list[dict[str, Any]] = json.loads(printed(out))
    return rows


def test_the_age_of_the_last_words_is_told_in_the_time_of_the_call() -> None:
    call = Call("s00-1", TOLD)
    assert call.as_json(61_000)["last_words_s"] is None
    words = (wire.Word(word="yes", begin=0, end=16_000, confidence=1.0),)
    call.hear(wire.Final(track=0, utterance=0, begin=0, end=32_000, text="yes", words=words, confidence=1.0))
    assert call.as_json(61_000)["last_words_s"] == 9.0
    call.hear(wire.Partial(track=1, utterance=0, revision=1, begin=0, end=128_000, text="no", stable=0))
    row = call.as_json(61_000)
    assert (row["age_s"], row["last_words_s"], row["lag_s"]) == (60.0, 1.0, 0.5)


def test_a_hint_stands_as_long_as_it_holds_and_names_its_track() -> None:
    call = Call("s00-1", TOLD)
    quality: dict[str, Any] = {"track": 1, "level_db": -60, "clipping": 0, "snr_db": None, "bandwidth_hz": None}
    call.hear(wire.Quality(**quality, hint=wire.Hint(code="quiet", message="too quiet")))
    out = console()
    out.print(table([call.as_json(61_000)]))
    assert "customer: too quiet" in printed(out) and "1:00" in printed(out)
    call.hear(wire.Quality(**quality, hint=None))
    assert call.as_json(61_000)["hints"] == {}


async def test_open_calls_are_listed_with_what_is_said_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "ONCE_S", 0.5)
    async with running_gateway(text="hello") as running, running.dial() as caller, running.dial() as other:
        assert await looked(running) == []
        started = await caller.start(tracks=2)
        await said(caller)
        done = await other.start()
        await other.send(wire.Stop())
        await other.until("ended")
        [row] = await looked(running)
        assert (row["session"], row["tracks"], row["state"]) == (started.session, ["t0", "t1"], "open")
        assert row["last_words_s"] == 0.0 and row["lag_s"] == round(2 * UTTERANCE / RATE, 1)
        assert {each["session"] for each in await looked(running, ended=True)} == {started.session, done.session}


async def followed(running: Running, caller: Caller, out: Console) -> None:
    started = await caller.start()
    await said(caller, UTTERANCE)
    following = asyncio.create_task(follow(GatewayClient(running.url), started.session, out, as_json=True))
    async with asyncio.timeout(LIMIT_S):
        while '"final"' not in printed(out):
            await asyncio.sleep(0.01)
    for watcher in list(running.gateway._watchers):
        watcher._socket._send = None  # type: ignore[attr-defined]  # its next message breaks the connection
    await caller.say(UTTERANCE, sound(UTTERANCE, 3 * UTTERANCE))
    await caller.until("final", lambda final: final.end == 3 * UTTERANCE)
    await caller.send(wire.Stop())
    await asyncio.wait_for(following, LIMIT_S)


async def test_a_session_is_followed_to_its_end_over_a_broken_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "AGAIN_S", 0.05)
    out = console()
    async with running_gateway() as running, running.dial() as caller:
        await followed(running, caller, out)
    told = [json.loads(line) for line in printed(out).splitlines()]
    assert [message["begin"] for message in told if message["type"] == "final"] == [0, UTTERANCE, 2 * UTTERANCE]
    assert told[-1]["type"] == "ended"


async def test_captions_of_a_followed_session_are_shown_as_those_of_ones_own() -> None:
    out = console()
    async with running_gateway(text="hello") as running, running.dial() as caller:
        started = await caller.start()
        await said(caller, UTTERANCE)
        await caller.send(wire.Stop())
        await caller.until("ended")
        await asyncio.wait_for(follow(GatewayClient(running.url), started.session, out, as_json=False), LIMIT_S)
    assert "t0" in printed(out) and "word" in printed(out)


async def test_what_the_gateway_refuses_comes_with_its_own_code() -> None:
    async with guarded() as running, dial_with(running, token("acme")) as caller:
        started = await caller.start()
        for given, code in ((None, "unauthorized"), (token("other", "watch"), "unknown_session")):
            with pytest.raises(ClientError) as refused:
                await follow(GatewayClient(running.url, given), started.session, console(), as_json=False)
            assert refused.value.code == code


async def test_a_gateway_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ConfigError):
        GatewayClient("ftp://nowhere")
    with pytest.raises(ClientError) as refused:
        await GatewayClient("127.0.0.1:1").get("/v1/sessions")
    assert refused.value.code == "unreachable"
