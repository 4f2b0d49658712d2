"""Recordings over HTTP: a call like any other, told as server-sent events."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.unit.gateway.harness import LIMIT_S, Running, running_gateway
from tests.unit.gateway.world import RATE, UTTERANCE, sound

from stenoflow.bus.records import SessionState


def wav(samples: int, *, channels: int = 1, rate: int = RATE, kind: str = "WAV") -> bytes:
    pcm = np.frombuffer(sound(0, samples), "<i2")
    file = io.BytesIO()
    soundfile.write(file, np.stack([pcm] * channels, 1), rate, format=kind, subtype="PCM_16")
    return file.getvalue()


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        event, data = block.split("\n")
        fields = json.loads(data.removeprefix("data: "))
        assert event.removeprefix("event: ") == fields["type"]
        found.append((fields["type"], fields))
    return found


async def post(running: Running, body: bytes, **params: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url, timeout=LIMIT_S) as http:
        return await http.post("/v1/files", content=body, params=params)


async def test_a_recording_comes_back_as_captions_and_stays_as_a_session() -> None:
    async with running_gateway() as running:
        answer = await post(running, wav(2 * UTTERANCE + 50), title="interview")
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.text)
        assert (told[0][0], told[-1][0]) == ("started", "ended")
        assert "resume_token" not in answer.text
        assert told[0][1]["tracks"][0]["name"] == "interview"
        texts = [fields["text"] for kind, fields in told if kind == "final"]
        assert [json.loads(text)[:2] for text in texts] == [[0, 1600], [1600, 3200], [3200, 3250]]
        assert {kind for kind, _ in told} <= {"started", "progress", "final", "ended"}
        async with httpx.AsyncClient(base_url=running.url) as http:
            [listed] = (await http.get("/v1/sessions")).json()["sessions"]
            assert (listed["session"], listed["kind"]) == (told[0][1]["session"], "file")
            assert (await http.get(f"/v1/sessions/{listed['session']}/transcript")).text.splitlines() == texts


async def test_more_than_a_window_goes_through_and_each_channel_is_a_track() -> None:
    async with running_gateway(text="words") as running:
        answer = await post(running, wav(70 * RATE, channels=2, kind="FLAC"))
        told = events(answer.text)
        ended = told[-1][1]
        assert [track["received"] for track in ended["tracks"]] == [70 * RATE] * 2
        assert [track["name"] for track in told[0][1]["tracks"]] == ["left", "right"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_audio"),
        (b"this is a letter, not a recording", 415, "unreadable_audio"),
        (wav(0), 400, "empty_audio"),
        (wav(100, channels=9), 400, "too_many_channels"),
        (wav(4 * RATE), 413, "file_too_long"),
        (bytes(2 * 1024 * 1024), 413, "oversized_file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_taken_is_a_typed_error(
    body: bytes, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOFLOW_GATEWAY_FILE_MB", "1")
    monkeypatch.setenv("STENOFLOW_GATEWAY_FILE_H", str(3 / 3600))
    async with running_gateway() as running:
        answer = await post(running, body)
        assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (status, code, False)
        assert "/" not in answer.json()["message"], "no path of ours"


async def test_a_body_without_a_length_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOFLOW_GATEWAY_FILE_MB", "1")

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(20):
            yield bytes(100_000)

    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        answer = await http.post("/v1/files", content=pieces())
        assert answer.json()["code"] == "oversized_file"


async def test_no_place_is_an_answer_at_once() -> None:
    async with running_gateway(places=1) as running:
        answer = await post(running, wav(100, channels=2))
        assert (answer.status_code, answer.json()["code"]) == (429, "at_capacity")
        assert answer.headers["retry-after"] == "2"
        assert (await post(running, wav(UTTERANCE))).status_code == 200, "its place is free again"


async def test_only_so_many_are_read_at_once() -> None:
    async with (
        running_gateway(settings={"files_at_once": 1}) as running,
        httpx.AsyncClient(base_url=running.url) as http,
    ):
        running.echo.asleep = True
        async with http.stream("POST", "/v1/files", content=wav(UTTERANCE)) as first:
            pieces = first.aiter_text()
            await anext(pieces)
            answer = await post(running, wav(UTTERANCE))
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_files")
            running.echo.asleep = False
            assert events("".join([piece async for piece in pieces]))[-1][0] == "ended"
        async with asyncio.timeout(LIMIT_S):
            while (await post(running, wav(UTTERANCE))).status_code != 200:
                await asyncio.sleep(0.01)


async def test_whoever_goes_away_ends_the_session() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        running.echo.asleep = True
        async with http.stream("POST", "/v1/files", content=wav(UTTERANCE)) as answer:
            first = await anext(answer.aiter_text())
            session = events(first.split("\n\n")[0])[0][1]["session"]
        running.echo.asleep = False
        async with asyncio.timeout(LIMIT_S):
            while (await running.bus.records().get(session)).state is not SessionState.ENDED:
                await asyncio.sleep(0.01)


async def test_a_gateway_that_leaves_says_so() -> None:
    async with running_gateway() as running, httpx.AsyncClient(base_url=running.url) as http:
        running.echo.asleep = True
        async with http.stream("POST", "/v1/files", content=wav(UTTERANCE)) as answer:
            pieces = answer.aiter_text()
            await anext(pieces)
            await running.gateway.drain()
            rest = "".join([piece async for piece in pieces])
        assert events(rest)[-1][1]["code"] == "gateway_leaving"
        running.echo.asleep = False
