"""The gateway as a process: connect, serve, drain on SIGTERM.

Exit codes: 0 drained, 2 cannot start as configured (the message says why), 1 a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence

import structlog
from pydantic import ValidationError

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import ConfigError, StenoflowError
from stenoflow_gateway.settings import LOOPBACK, GatewaySettings

BACKLOG = 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the gateway until SIGTERM; returns the exit code."""
    try:
        settings, fd = _parse(arguments)
        try:
            import jwt  # noqa: F401
            import uvicorn  # noqa: F401
            import uvloop
        except ImportError as error:
            raise ConfigError(
                "extra_missing", f"{error.name} is not installed: pip install 'stenoflow[gateway]'"
            ) from None
        _check_host(settings.host, settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(settings, _listen(settings, fd)))
    except StenoflowError as error:
        print(f"stenoflow-gateway: {error}", file=sys.stderr)
        return 2


def _parse(arguments: Sequence[str] | None) -> tuple[GatewaySettings, int | None]:
    parser = argparse.ArgumentParser(
        "stenoflow-gateway",
        description="Takes calls over WebSockets and brings their captions.",
        epilog="Every setting can also be given in the environment, as STENOFLOW_GATEWAY_NAME.",
    )
    parser.add_argument("--redis", metavar="URL", help="where the logs are (default: redis://127.0.0.1:6379/0)")
    parser.add_argument(
        "--host", metavar="HOST", help="where to listen; beyond loopback only with a secret (default: 127.0.0.1)"
    )
    parser.add_argument("--port", metavar="PORT", help="0 takes a free one (default: 8000)")
    parser.add_argument("--shards", metavar="N", help="the same number for all processes (default: 1)")
    parser.add_argument("--token-key-file", metavar="FILE", help="the secret for access tokens (default: none)")
    parser.add_argument(
        "--bundle", metavar="NAME", help="of calls that name none, where it is served (default: en-small)"
    )
    parser.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR (default: INFO)")
    parser.add_argument("--fd", type=int, metavar="N", help="listen on this inherited socket instead of host and port")
    given = vars(parser.parse_args(arguments))
    fd: int | None = given.pop("fd")
    try:
        return GatewaySettings(**{name: value for name, value in given.items() if value is not None}), fd
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        parser.error(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


def _check_host(host: str, settings: GatewaySettings) -> None:
    from stenoflow_gateway.access.bearer import keys_of

    if keys_of(settings) is None and host not in LOOPBACK:
        raise ConfigError(
            "host_not_loopback",
            f"{host} can be reached by others, and there is no secret for access tokens: make one with "
            "`stenoflow token --new-key token.key` and give it with --token-key-file token.key, or use 127.0.0.1",
        )


def _listen(settings: GatewaySettings, fd: int | None) -> socket.socket:
    try:
        if fd is not None:
            inherited = socket.socket(fileno=os.dup(fd))  # ours may be closed; the supervisor keeps its own
            if inherited.family != socket.AF_UNIX:
                _check_host(inherited.getsockname()[0], settings)
            return inherited
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
        return listener
    except OSError as error:
        where = f"socket {fd}" if fd is not None else f"{settings.host}:{settings.port}"
        raise ConfigError("port_taken", f"{where} cannot be used ({os.strerror(error.errno or 0).lower()})") from None


async def _run(settings: GatewaySettings, listener: socket.socket) -> int:
    from stenoflow.bus.redis import RedisBus
    from stenoflow.telemetry.logging import set_up_logging
    from stenoflow.telemetry.tracing import tracing_of
    from stenoflow_gateway.app import make_app
    from stenoflow_gateway.gateway import Gateway
    from stenoflow_gateway.server import make_server

    set_up_logging("stenoflow-gateway", level=settings.log_level)
    log = structlog.get_logger()
    clock = SystemClock()
    bus = await RedisBus.connect(settings.redis, clock, shards=settings.shards)
    tracing = tracing_of("stenoflow-gateway")
    gateway = Gateway(bus, clock, settings, tracing)
    broken: list[bool] = []

    def failed() -> None:
        log.error("a background task died of a bug")
        broken.append(True)
        server.should_exit = True

    server = make_server(make_app(gateway, settings, failed), settings.ping_s)
    draining: list[asyncio.Task[None]] = []

    async def drain() -> None:
        server.stop_accepting()
        await gateway.drain()
        server.should_exit = True

    def leave() -> None:
        if draining:
            server.force_exit = True
        draining.append(asyncio.create_task(drain()))

    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, leave)
    host, port = listener.getsockname()[:2] if listener.family != socket.AF_UNIX else ("unix", 0)
    log.info("listening", host=host, port=port)
    try:
        await server.serve(sockets=[listener])
    finally:
        await bus.close()
        if tracing is not None:
            tracing.close()
    log.info("drained")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
