"""Every message has an example that both languages read, and both machines say what the conversations hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.wire.replay import HERE, ClientSide, GatewaySide

from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import State
from stenoflow.protocol.frames import AudioFrame, decode_frame, encode_frame
from stenoflow_gateway.session.states import State as GatewayState

EXAMPLES = sorted((HERE / "examples").glob("*.json"))
CONVERSATIONS = sorted((HERE / "conversations").glob("*.json"))
FRAMES = json.loads((HERE / "frames" / "frames.json").read_text())
CLIENT_TYPES = {kind.model_fields["type"].default: kind for kind in get_args(get_args(wire.ClientMessage)[0])}
SERVER_TYPES = {kind.model_fields["type"].default: kind for kind in get_args(get_args(wire.ServerMessage)[0])}


def messages(path: Path) -> list[dict[str, Any]]:
    content = json.loads(path.read_text())
    return content if isinstance(content, list) else [content]


def holds(dumped: Any, example: Any) -> bool:
    """Whether all that the example says came through; what it leaves to defaults may be there too."""
    if isinstance(example, dict):
        return all(key in dumped and holds(dumped[key], value) for key, value in example.items())
    if isinstance(example, list):
        return len(dumped) == len(example) and all(map(holds, dumped, example))
    return bool(dumped == example)


def test_every_type_has_an_example_and_every_example_a_type() -> None:
    assert {path.stem for path in EXAMPLES} == set(CLIENT_TYPES) | set(SERVER_TYPES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_read_and_written_the_same(path: Path) -> None:
    for example in messages(path):
        assert example["type"] == path.stem
        parse = wire.parse_client if path.stem in CLIENT_TYPES else wire.parse_server
        message = parse(json.dumps(example))
        assert parse(message.model_dump_json()) == message
        assert holds(json.loads(message.model_dump_json()), example)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_message_that_is_cut_anywhere_is_a_typed_error(path: Path) -> None:
    parse = wire.parse_client if path.stem in CLIENT_TYPES else wire.parse_server
    text = json.dumps(messages(path)[0]).encode()
    for end in range(len(text)):
        with pytest.raises(ClientError):
            parse(text[:end])


@pytest.mark.parametrize("frame", FRAMES["good"], ids=lambda frame: frame["name"])
def test_frames_are_read_and_written_the_same(frame: dict[str, Any]) -> None:
    decoded = decode_frame(bytes.fromhex(frame["hex"]))
    assert decoded == AudioFrame(frame["track"], frame["position"], bytes.fromhex(frame["samples"]))
    assert encode_frame(decoded).hex() == frame["hex"]


@pytest.mark.parametrize("frame", FRAMES["bad"], ids=lambda frame: frame["name"])
def test_bad_frames_are_typed_errors(frame: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as refused:
        decode_frame(bytes.fromhex(frame["hex"]))
    assert refused.value.code == frame["code"]


def test_there_are_conversations() -> None:
    assert len(CONVERSATIONS) >= 5


@pytest.mark.parametrize("path", CONVERSATIONS, ids=lambda path: path.stem)
def test_the_client_says_its_part(path: Path) -> None:
    conversation = json.loads(path.read_text())
    client = ClientSide(wire.Start.model_validate(conversation["start"]))
    for step in conversation["steps"]:
        if step["by"] == "client":
            assert client.sent.popleft() == step
        else:
            if step["by"] == "socket" and step["do"] == "open":
                assert client.wants_socket
                client.wants_socket = False
            client.tell(step)
    assert not client.sent
    assert client.machine.state is State.ENDED


@pytest.mark.parametrize("path", CONVERSATIONS, ids=lambda path: path.stem)
def test_the_gateway_says_its_part(path: Path) -> None:
    gateway = GatewaySide()
    for step in json.loads(path.read_text())["steps"]:
        if step["by"] == "server":
            assert gateway.sent.popleft() == step
        else:
            gateway.tell(step)
    assert not gateway.sent
    assert gateway.machine is not None
    assert gateway.machine.state is GatewayState.CLOSED
