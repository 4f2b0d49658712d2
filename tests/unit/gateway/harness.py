"""A gateway on a loopback port over the in-memory bus, and an echo in place of the stages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import websockets
from fastapi import FastAPI
from tests.unit.gateway.world import RATE, UTTERANCE
from websockets.asyncio.client import ClientConnection

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable
from stenoflow.bus.entry import END_ID, Cursor, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.records import NEEDED, SessionState, Stages, WorkerStatus
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow_gateway.app import make_app
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.server import make_server
from stenoflow_gateway.settings import GatewaySettings

LIMIT_S = 10.0
"""No test waits longer for anything; what it waits for comes within milliseconds."""


class Echo:
    """Takes every claim; one final per ``UTTERANCE`` samples, which says what was heard."""

    def __init__(self, bus: Any, *, places: int = 100, text: str = "") -> None:
        self.bus = bus
        self.places = places
        self.text = text
        self.asleep = False
        self.present: set[Stages] = set()
        self._announced_at = float("-inf")

    async def announce(self) -> None:
        self.present.update(NEEDED)
        await self._say_present()

    async def _say_present(self) -> None:
        """Workers vanish 5 s after their last announcement, which a busy machine may take for one test."""
        self._announced_at = SystemClock().monotonic()
        for stage in sorted(self.present):
            bundle = "test@abc" if stage is not Stages.FEATURES else ""
            status = WorkerStatus(f"{stage}-1", stage, self.places, 0, bundle, details={"look_ahead_ms": "160"})
            await self.bus.records().announce(status, SystemClock().wall_ms())

    async def withdraw(self, stage: Stages) -> None:
        self.present.discard(stage)
        await self.bus.records().withdraw(WorkerStatus(f"{stage}-1", stage, self.places, 0))

    async def run(self) -> None:
        claims = {stage: self.bus.claims(stage, "echo", "" if stage is Stages.FEATURES else "test") for stage in NEEDED}
        held: dict[str, Any] = {}
        while True:
            with contextlib.suppress(BusUnavailable):
                if SystemClock().monotonic() > self._announced_at + 1:
                    await self._say_present()
                for claim in await claims[Stages.DECODER].take(1000):
                    held[claim.id] = claim
                for claim in list(held.values()):
                    record = await self.bus.records().get(claim.track.session)
                    lost = record is None or record.epoch != claim.track.epoch or record.state is not SessionState.OPEN
                    if not lost and (self.asleep or not await self._step(claim.track, record)):
                        continue
                    del held[claim.id]
                    for stage in NEEDED:
                        everyone = [*await claims[stage].take(1000), *await claims[stage].renew()]
                        await claims[stage].done([each for each in everyone if each.track == claim.track])
            if isinstance(self.bus, MemoryBus):
                await self.bus.logs().store.wait(0.02)
            else:
                await asyncio.sleep(0.01)  # the pace of a worker; nobody waits for it to pass

    async def _step(self, track: Any, record: Any) -> bool:
        """Echoes what is new; tells whether the track is over."""
        logs = self.bus.logs()
        tail = await logs.tail(LogKey(track, LogName.FINALS))
        if tail is None:
            return True
        done, base = tail.entry.end, record.tracks[track.number].base
        heard, over = bytearray(), False
        cursor = Cursor(track, base)
        key = LogKey(track, LogName.AUDIO)
        audio = (await logs.read({key: EntryId(base, 0)}, block_ms=None, count=1000)).get(key, [])
        stamps: dict[str, int] = {}
        for entry_id, raw in audio:
            news = cursor.take(entry_id, raw)
            if news is not None:
                heard += news.data
                over = over or news.ends
                stamps = news.stamps or stamps
        end = base + len(heard) // 2
        now = SystemClock().wall_ms()
        stamps = {**stamps, **{f"{stage}.{edge}": now for stage in NEEDED for edge in ("begin", "end")}}
        entries = []
        while done < end and (end - done >= UTTERANCE or over):
            stop = min(end, done + UTTERANCE)
            text = self.text or json.dumps([done, stop, sum(heard[2 * (done - base) : 2 * (stop - base)])])
            final = {
                "type": "final",
                "track": track.number,
                "utterance": done // UTTERANCE,
                "begin": done,
                "end": stop,
                "text": text,
                "words": [{"word": "word", "begin": done, "end": stop, "confidence": 1.0}],
                "confidence": 1.0,
            }
            data = json.dumps(final).encode()
            entries.append((EntryId(stop, 1), Entry(track, Kind.FINAL, done, stop, data=data, stamps=stamps)))
            done = stop
        if over:
            mark = Mark(MarkKind.END, done, "client", 0)
            entries.append((END_ID, Entry(track, Kind.FINAL, done, done, marks=(mark,))))
        if entries:
            await logs.append_finals([(LogKey(track, LogName.FINALS), tail.id, entries)])
        if end > done and record.settings["partials"]:
            partial = {
                "type": "partial",
                "track": track.number,
                "utterance": done // UTTERANCE,
                "revision": end,
                "begin": done,
                "end": end,
                "text": self.text or "so far",
                "stable": 0,
            }
            live = Entry(track, Kind.LIVE, end, end, data=json.dumps(partial).encode(), stamps=stamps)
            await logs.publish([(LogKey(track, LogName.LIVE), live)])
        return over


@dataclass
class Running:
    """A gateway that runs."""

    bus: MemoryBus
    echo: Echo
    gateway: Gateway
    url: str
    settings: GatewaySettings
    app: FastAPI

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws") + "/v1/stream"

    @contextlib.asynccontextmanager
    async def dial(self, **options: Any) -> AsyncIterator[Caller]:
        async with websockets.connect(
            self.stream_url, subprotocols=[websockets.Subprotocol(wire.SUBPROTOCOL)], compression=None, **options
        ) as client:
            yield Caller(client)


class Caller:
    """A client by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Any] = []

    async def start(self, *, tracks: int = 1, resume: wire.Resume | None = None, **fields: Any) -> Any:
        requests = tuple(wire.TrackRequest(name=f"t{n}", sample_rate=RATE) for n in range(tracks))
        await self.send(wire.Start(tracks=requests, resume=resume, **fields))
        return await self.until("started")

    async def send(self, message: wire.Message) -> None:
        await self.socket.send(message.model_dump_json())

    async def say(self, position: int, samples: bytes, track: int = 0) -> None:
        await self.socket.send(encode_frame(AudioFrame(track, position, samples)))

    async def until(self, kind: str, condition: Any = lambda message: True) -> Any:
        """The next message of this type; an error that was not waited for fails the test."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                message = wire.parse_server(await self.socket.recv())
                self.seen.append(message)
                if message.type == kind and condition(message):
                    return message
                assert message.type != "error" or kind == "error", message

    async def closed(self) -> int | None:
        """Reads to the end; returns the close code."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    self.seen.append(wire.parse_server(await self.socket.recv()))
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    def finals(self) -> list[wire.Final]:
        return [message for message in self.seen if message.type == "final"]


@contextlib.asynccontextmanager
async def running_gateway(
    *, workers: bool = True, settings: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Running]:
    """A gateway over a fresh bus; ``options`` go to the echo."""
    bus = MemoryBus(SystemClock())
    echo = Echo(bus, **options)
    if workers:
        await echo.announce()
    async with serving(bus, echo, settings) as running:
        echoing = asyncio.create_task(echo.run())
        try:
            yield running
        finally:
            echoing.cancel()
            [result] = await asyncio.gather(echoing, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError), result


@contextlib.asynccontextmanager
async def serving(bus: MemoryBus, echo: Echo, told: Mapping[str, Any] | None = None) -> AsyncIterator[Running]:
    """One gateway over a bus that others may share."""
    settings = GatewaySettings(**(told or {}))
    gateway = Gateway(bus, SystemClock(), settings)
    app = make_app(gateway, settings)
    server = make_server(app, settings.ping_s)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield Running(bus, echo, gateway, url, settings, app)
    finally:
        await gateway.drain()
        server.should_exit = True
        await serving
