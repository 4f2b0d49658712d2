"""The gateway as a process over a real Redis: an inherited socket, SIGTERM, SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.unit.gateway.harness import Echo
from tests.unit.gateway.world import RATE, UTTERANCE, sound

from stenoflow.base.clock import SystemClock
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow.protocol import messages as wire
from stenoflow_cli.streaming import Stream

LIMIT_S = 20.0


@pytest.fixture(scope="module")
def redis() -> str:  # type: ignore[misc]
    with EmbeddedRedis() as server:
        yield server.url


@contextlib.asynccontextmanager
async def echo_over(url: str) -> AsyncIterator[None]:
    bus = await RedisBus.connect(url, SystemClock())
    echo = Echo(bus)
    await echo.announce()
    running = asyncio.create_task(echo.run())

    async def keep_announcing() -> None:
        while True:
            await echo.announce()
            await asyncio.sleep(1)

    announcing = asyncio.create_task(keep_announcing())
    try:
        yield
    finally:
        for task in (running, announcing):
            task.cancel()
        results = await asyncio.gather(running, announcing, return_exceptions=True)
        await bus.close()
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


class Gateways:
    """Gateways behind one listening socket, as the supervisor holds it."""

    def __init__(self, redis: str, log: Path) -> None:
        self.redis = redis
        self.log = log
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.listener.getsockname()[1]}"

    async def start(self) -> asyncio.subprocess.Process:
        fd = self.listener.fileno()
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stenoflow_gateway", "--redis", self.redis, "--fd", str(fd)),
                pass_fds=[fd],
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        async with asyncio.timeout(LIMIT_S), httpx.AsyncClient(base_url=f"http://{self.url}") as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get("/readyz", timeout=LIMIT_S)).status_code == 200:
                        return process
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_call_goes_on_at_another_gateway(redis: str, tmp_path: Path, how: signal.Signals) -> None:
    gateways = Gateways(redis, tmp_path / "log")
    samples = 4 * RATE
    async with echo_over(redis), asyncio.timeout(2 * LIMIT_S):
        first = await gateways.start()
        first_final = asyncio.Event()

        def hear(message: object) -> None:
            if isinstance(message, wire.Final):
                first_final.set()

        start = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),))
        async with Stream(f"ws://{gateways.url}/v1/stream", start, hear, give_up_s=LIMIT_S) as call:
            for begin in range(0, samples // 2, 2560):
                await call.say(0, sound(begin, min(begin + 2560, samples // 2)))
            await first_final.wait()
            first.send_signal(how)
            for begin in range(samples // 2, samples, 2560):
                await call.say(0, sound(begin, min(begin + 2560, samples)))
            code = await first.wait()
            second = await gateways.start()
            finals = await call.finish()
        assert [(final.begin, final.end) for final in finals] == [
            (begin, begin + UTTERANCE) for begin in range(0, samples, UTTERANCE)
        ]
        for final in finals:
            assert final.text.endswith(f" {sum(sound(final.begin, final.end))}]")
        assert call.resumes >= 1
        assert code == (0 if how is signal.SIGTERM else -how)
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0
    log = (tmp_path / "log").read_text()
    assert '"event": "listening"' in log
    assert "Traceback" not in log


async def test_a_session_that_is_over_frees_its_places(redis: str, tmp_path: Path) -> None:
    gateways = Gateways(redis, tmp_path / "log")
    async with echo_over(redis), asyncio.timeout(2 * LIMIT_S):
        gateway = await gateways.start()
        start = wire.Start(kind="file", tracks=(wire.TrackRequest(name="a", sample_rate=RATE, duration_s=1),))
        for _ in range(2):
            async with Stream(f"ws://{gateways.url}/v1/stream", start, lambda _: None, give_up_s=LIMIT_S) as call:
                await call.say(0, sound(0, RATE))
                assert len(await call.finish()) == RATE // UTTERANCE
        gateway.send_signal(signal.SIGTERM)
        assert await gateway.wait() == 0
