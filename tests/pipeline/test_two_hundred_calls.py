"""200 calls with different scripts through one gateway and shared workers, some of which die; no word goes astray."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stenoflow.base.clock import SystemClock
from stenoflow.bundle.card import asked
from stenoflow.bundle.loading import load_bundle
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.records import OF_A_BUNDLE, Stages, WorkerStatus
from stenoflow.protocol import messages as wire
from stenoflow.runtime.places import PLACES
from stenoflow_acoustic import __main__ as acoustic
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_cli.streaming import Stream
from stenoflow_decoder import __main__ as decoder
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features.stage import FeaturesStage
from tests.pipeline.scripted import AnySound, make_bundle, spoken
from tests.unit.gateway.harness import Echo, serving
from tests.unit.runtime.test_loop import Worker

CALLS = 200
WORKERS = 3
PLACES_EACH = 200
UTTERANCES, WORDS = 2, 2
LEASE_S = 1.5


def script(call: int, track: int) -> list[str]:
    """Words that nobody else says: call, track, utterance and word, as ten letters spell their numbers."""
    return [
        " ".join(
            "".join("abcdefghij"[int(digit)] for digit in f"{call:03d}{track}{utterance}{word}")
            for word in range(WORDS)
        )
        for utterance in range(UTTERANCES)
    ]


class Shared:
    """Workers that all calls share, in this process; they announce themselves as processes do."""

    def __init__(self, bus: MemoryBus, bundle: Path) -> None:
        self._bus, self._bundle = bus, load_bundle(bundle)
        self._made = 0
        settings = AcousticSettings(bundle=str(bundle))
        self._compose: dict[Stages, Any] = {
            Stages.FEATURES: lambda: FeaturesStage(AnySound()),
            Stages.ACOUSTIC: lambda: acoustic.compose(settings, CollectorRegistry()).stage,
            Stages.DECODER: lambda: decoder.compose(DecoderSettings(bundle=str(bundle)), CollectorRegistry()).stage,
        }
        self.workers = [(place.stage, self._start(place)) for place in PLACES[:3] for _ in range(WORKERS)]

    def _start(self, place: Any) -> Worker:
        self._made += 1
        model = self._bundle.card.name if place.stage in OF_A_BUNDLE else ""
        return Worker(
            self._bus,
            f"worker-{self._made}",
            self._compose[place.stage](),
            PLACES_EACH,
            place=place,
            model=model,
            lease_s=LEASE_S,
        )

    async def replace(self, at: int) -> None:
        """One dies in the middle of its work, and a fresh one comes."""
        stage, worker = self.workers[at]
        await worker.die()
        self.workers[at] = (stage, self._start(next(place for place in PLACES if place.stage is stage)))

    async def announce(self) -> None:
        features = asked(self._bundle.card.features)
        for number, (stage, _) in enumerate(self.workers):
            bundle = str(self._bundle) if stage in OF_A_BUNDLE else ""
            details = {"features": features} if stage is Stages.ACOUSTIC else {}
            status = WorkerStatus(f"{stage}-{number}", stage, PLACES_EACH, 0, bundle, details=details)
            await self._bus.records().announce(status, SystemClock().wall_ms())

    async def keep_announcing(self) -> None:
        while True:
            await self.announce()
            await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def shared_workers(bus: MemoryBus, bundle: Path) -> AsyncIterator[Shared]:
    shared = Shared(bus, bundle)
    await shared.announce()
    announcing = asyncio.create_task(shared.keep_announcing())
    try:
        yield shared
    finally:
        announcing.cancel()
        for _, worker in shared.workers:
            await worker.die()


async def speak(url: str, call: int) -> dict[int, list[str]]:
    """One call in pieces of chance; what it got, by track."""
    chance = random.Random(call)
    tracks = 1 + call % 2
    sounds = [spoken(script(call, track)) for track in range(tracks)]
    requests = tuple(wire.TrackRequest(name=f"t{track}", sample_rate=16_000) for track in range(tracks))
    told: dict[int, list[str]] = {track: [] for track in range(tracks)}

    def note(message: Any) -> None:
        if isinstance(message, wire.Final) and message.text:
            told[message.track].append(message.text)
        elif isinstance(message, wire.Partial):
            said = {word for line in script(call, message.track) for word in line.split()}
            assert all(any(whole.startswith(word) for whole in said) for word in message.text.split()), message.text

    async with Stream(url, wire.Start(kind="file", tracks=requests), note, give_up_s=60) as stream:
        at = [0] * tracks
        while any(position < len(sound) for position, sound in zip(at, sounds, strict=True)):
            for track, sound in enumerate(sounds):
                size = 2 * chance.randrange(800, 8_000)
                if piece := sound[at[track] : at[track] + size]:
                    await stream.say(track, piece)
                at[track] += size
            await asyncio.sleep(0)  # the others' turn
        await stream.finish()
    return told


@pytest.mark.timeout(240)
async def test_no_word_appears_in_another_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Gateway, clients and nine workers share one interpreter here, which may be busy with the others for long.
    monkeypatch.setattr("stenoflow.runtime.loop.STUCK_S", 60.0)
    bus = MemoryBus(SystemClock(), lease_s=LEASE_S)
    async with (
        shared_workers(bus, make_bundle(tmp_path / "scripted")) as shared,
        serving(bus, Echo(bus), {"bundle": "scripted"}) as running,
    ):
        calls = [asyncio.create_task(speak(running.stream_url, call)) for call in range(CALLS)]
        deaths = {CALLS // 10: 0, CALLS // 4: 1 + WORKERS, CALLS // 2: 2 * WORKERS}  # one of each stage
        for done, finished in enumerate(asyncio.as_completed(calls), 1):
            await finished
            if done in deaths:
                await shared.replace(deaths[done])
        for call, task in enumerate(calls):
            assert task.result() == {track: script(call, track) for track in range(1 + call % 2)}, call
