"""Every line of every service after a call with errors and a death in it: events, and neither words nor tokens."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import pytest
import websockets

from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from tests.pipeline.calls import speak
from tests.stack import StackProcess

LONG = 6
"""Letters from which on a word that was said is no word of a log line by chance."""


async def _do_wrong(stack: StackProcess, canary: str, sent: list[Any]) -> str:
    """Starts a call that names the canary wherever a client can, sends what breaks it; returns the call's token."""
    start = wire.Start(
        tracks=(wire.TrackRequest(name=canary, sample_rate=16_000),),
        boost=(wire.Boost(phrase=canary),),
        metadata={"customer": canary},
    )
    protocol = websockets.Subprotocol(wire.SUBPROTOCOL)
    token = ""
    async with websockets.connect(stack.stream_url, subprotocols=[protocol]) as client:
        for message in sent:
            await client.send(start.model_dump_json() if message == "START" else message)
            if message == "START" and not token:
                while not isinstance(told := wire.parse_server(await client.recv()), wire.Started):
                    assert told.type != "error", told
                token = told.resume_token
        await client.wait_closed()
        assert client.close_code == 4400, sent
    return token


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_no_line_holds_a_word_or_a_token(full_stack: StackProcess) -> None:
    canary = f"canary{secrets.token_hex(4)}"
    tokens: set[str] = set()
    for sent in (
        [f'{{"type": "{canary}"}}'],
        [canary],
        [json.dumps({"type": "start", "tracks": [{"name": canary, "sample_rate": 16_000}], canary: canary})],
        [json.dumps({"type": "start", "resume": {"token": f"s00-0.{canary}"}, "tracks": canary})],
        ["START", b"\x09" + canary.encode()],
        ["START", encode_frame(AudioFrame(7, 0, canary.encode() * 2))],
        ["START", json.dumps({"type": "stop", "track": canary})],
        ["START", "START"],
        ["START", json.dumps({"type": "finalize", "words": canary})],
    ):
        tokens.add(await _do_wrong(full_stack, canary, sent))
    killed: list[int] = []

    def kill(second: float) -> None:
        if second > 5 and not killed:
            killed.append(full_stack.kill("stenoflow_decoder"))

    def note(message: Any) -> None:
        if isinstance(message, wire.Started):
            tokens.add(message.resume_token)

    finals, _ = await speak(full_stack.stream_url, pace=1.0, during=kill, on_message=note)
    said = {word for final in finals for word in re.findall(rf"[a-z]{{{LONG},}}", final.text.lower())}
    secret = {token.rpartition(".")[2] for token in tokens if token}
    assert len(said) > 10 and len(secret) >= 6 and killed

    services = set()
    for log in sorted(full_stack.logs.glob("*.log")):
        if log.name == "up.log":
            continue  # the command's own screen: where it listens
        for line in log.read_text().splitlines():
            event = json.loads(line)
            assert {"event", "level", "timestamp", "service"} <= event.keys(), line
            services.add(event["service"])
            assert canary not in line, line
            assert not [each for each in secret if each in line], line
            words = set(re.findall(rf"[a-z]{{{LONG},}}", line.lower()))
            assert not words & said, (words & said, line)
    parts = ("gateway", "features", "acoustic", "decoder", "second-pass")
    assert services == {f"stenoflow-{each}" for each in parts}
    gateway = (full_stack.logs / "gateway.log").read_text()
    for event in ("session opened", "client refused", "socket closed"):
        lines = [json.loads(line) for line in gateway.splitlines() if f'"{event}"' in line]
        assert lines and all(re.fullmatch(r"s\d\d-[0-9a-f]{16}", line["session"]) for line in lines), event
