"""A wrong address is told at once, with what to do; a right one may be written as people write it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import websockets

from stenoflow.base.errors import ClientError, ConfigError
from stenoflow.protocol.messages import SUBPROTOCOL
from stenoflow_cli import address
from stenoflow_cli.address import greet, stream_address


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:8090", "ws://127.0.0.1:8090/v1/stream"),
        ("localhost", "ws://localhost/v1/stream"),
        ("[::1]:8090", "ws://[::1]:8090/v1/stream"),
        ("http://localhost:8090/", "ws://localhost:8090/v1/stream"),
        ("https://captions.example", "wss://captions.example/v1/stream"),
        ("ws://localhost:8090/v1/stream", "ws://localhost:8090/v1/stream"),
        ("wss://captions.example/calls/stream", "wss://captions.example/calls/stream"),
    ],
)
def test_addresses_as_people_write_them(given: str, meant: str) -> None:
    assert stream_address(given) == meant


@pytest.mark.parametrize("given", ["", ":8000", "ftp://localhost:8000", "localhost:eighty", "localhost:0", "ws://"])
def test_what_is_no_address_is_a_sentence(given: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a gateway: give HOST:PORT"):
        stream_address(given)


def at(listener: Any) -> str:
    return f"ws://127.0.0.1:{listener.getsockname()[1]}/v1/stream"


async def refused(url: str) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await greet(url)
    return caught.value


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nothing_listens_it_says_how_to_start_a_stack(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = await refused(f"ws://{host}:{port}/v1/stream")
    assert error.code == "nothing_listens"
    assert "start one with `stenoflow up`, or name yours with --url" in error.message


async def test_a_host_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await refused("ws://nowhere.invalid:8000/v1/stream")
    assert (error.code, "'nowhere.invalid'" in error.message) == ("unknown_host", True)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"-ERR unknown command\r\n"]
)
async def test_another_server_is_told_apart(answer: bytes) -> None:
    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
        error = await refused(at(server.sockets[0]))
    assert error.code == "not_a_gateway"
    assert ("HTTP 404" in error.message) == (b"404" in answer)


@pytest.mark.parametrize("subprotocols", [None, [SUBPROTOCOL]])
async def test_only_a_server_of_the_protocol_is_a_gateway(subprotocols: list[websockets.Subprotocol] | None) -> None:
    async def serve(connection: websockets.ServerConnection) -> None:
        await connection.wait_closed()

    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=subprotocols) as server:
        url = at(next(iter(server.sockets)))
        if subprotocols:
            await greet(url)
        else:
            assert (await refused(url)).code == "not_a_gateway"


async def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "OPEN_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await refused(at(silent))
    assert error.code == "unreachable"
