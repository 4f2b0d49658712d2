"""Addresses of gateways: as people write them, and whether a gateway answers there at all.

A session goes on trying for as long as a gateway may take to come back (:mod:`stenoflow_cli.streaming`). For an address
that never answered that is half a minute of nothing, so it is tried here once before, and told at once.
"""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

import websockets

from stenoflow.base.errors import ClientError, ConfigError
from stenoflow.protocol.messages import SUBPROTOCOL
from stenoflow_cli.streaming import OPEN_S

PATH = "/v1/stream"
SCHEMES = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}


def stream_address(given: str) -> str:
    """Where to connect: ``localhost:8090`` and ``http://localhost:8090/`` are ``ws://localhost:8090/v1/stream``.

    Args:
        given: an address with or without scheme and path; a path of one's own (a proxy's) stays.

    Raises:
        ConfigError: ``bad_address``: it is none.
    """
    try:
        parts = urlsplit(given if "://" in given else f"ws://{given}")
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise ConfigError("bad_address", f"'{given}' is no address of a gateway: give HOST:PORT, e.g. 127.0.0.1:8000")
    path = PATH if parts.path in ("", "/") else parts.path
    return parts._replace(scheme=SCHEMES[parts.scheme], path=path, fragment="").geturl()


async def greet(url: str) -> None:
    """Connects to a gateway and leaves again.

    Args:
        url: of the stream, see :func:`stream_address`.

    Raises:
        ClientError: ``nothing_listens``, ``unknown_host``, ``unreachable`` or ``not_a_gateway``; the message says what
            to do.
    """
    try:
        async with websockets.connect(
            url,
            subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=1,
        ) as connection:
            chosen = connection.subprotocol
    except TimeoutError:
        raise ClientError("unreachable", f"{url} did not answer within {OPEN_S:.0f} s: check --url") from None
    except socket.gaierror:
        raise ClientError("unknown_host", f"there is no host '{urlsplit(url).hostname}': check --url") from None
    except OSError as error:
        # By its text: a name with several addresses (::1, 127.0.0.1) fails with all their errors in one plain OSError.
        if f"Errno {errno.ECONNREFUSED}" in str(error):
            sentence = f"no stack at {url}: start one with `stenoflow up`, or name yours with --url"
            raise ClientError("nothing_listens", sentence) from None
        raise ClientError("unreachable", f"{url} cannot be reached ({error}): check --url") from None
    except websockets.InvalidStatus as error:
        raise _no_gateway(url, f"HTTP {error.response.status_code}") from None
    except websockets.WebSocketException:
        raise _no_gateway(url, "no WebSocket") from None
    if chosen != SUBPROTOCOL:
        raise _no_gateway(url, f"not the protocol {SUBPROTOCOL}")


def _no_gateway(url: str, answer: str) -> ClientError:
    return ClientError(
        "not_a_gateway", f"what answers at {url} is no Stenoflow gateway ({answer}): name yours with --url"
    )
