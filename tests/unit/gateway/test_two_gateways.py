"""Two gateways over one bus: a call goes on at either, one of them speaks for it, and a drain moves it whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.gateway.harness import LIMIT_S, Running, running_gateway, serving
from tests.unit.gateway.test_app import heard
from tests.unit.gateway.world import RATE, UTTERANCE, sound

from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.records import SessionState
from stenoflow.protocol import messages as wire
from stenoflow.runtime.client import Dial, Link, Stream
from stenoflow_cli.streaming import dial
from stenoflow_gateway.sockets import reader


def resume(started: wire.Started, committed: int = 0) -> wire.Resume:
    return wire.Resume(token=started.resume_token, tracks=(wire.ResumeTrack(track=0, committed=committed),))


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[tuple[Running, Running]]:
    async with running_gateway() as first, serving(first.bus, first.echo) as second:
        yield first, second


async def test_the_newest_socket_wins_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "RECORD_S", 0.1)
    async with two() as (first, second), first.dial() as old, second.dial() as new:
        started = await old.start()
        await old.say(0, sound(0, 2000))
        await old.until("ack", lambda ack: ack.tracks[0].received == 2000)
        resumed = await new.start(resume=resume(started))
        assert (resumed.session, resumed.tracks[0].next) == (started.session, 2000)
        assert (await old.until("error")).code == "superseded"
        assert await old.closed() == 4409
        # Nobody who was superseded comes back into the call by going on as before.
        await new.say(2000, sound(2000, 3000))
        await new.send(wire.Stop())
        await new.until("ended")
        assert [final.text for final in new.finals()] == [heard(0, 1600), heard(1600, 3000)]


async def test_sound_of_two_sockets_at_once_is_one_track_whole() -> None:
    """Until the older one hears that it is superseded, both write: the log takes each sample once."""
    async with two() as (first, second), first.dial() as old, second.dial() as new:
        started = await old.start()
        await old.say(0, sound(0, 1000))
        await old.until("ack", lambda ack: ack.tracks[0].received == 1000)
        await new.start(resume=resume(started))
        for begin in range(1000, 6000, 500):
            await old.say(begin, sound(begin, begin + 500))
            await new.say(begin, sound(begin, begin + 500))
        await new.send(wire.Stop())
        await new.until("ended")
        assert [final.text for final in new.finals()] == [
            heard(begin, min(begin + 1600, 6000)) for begin in range(0, 6000, 1600)
        ]


async def test_a_muted_call_goes_on_muted_at_the_other_gateway() -> None:
    async with two() as (first, second):
        async with first.dial() as caller:
            started = await caller.start()
            await caller.say(0, sound(0, 1000))
            await caller.send(wire.Pause())
            await caller.say(1000, sound(1000, 1600))
            await caller.until("ack", lambda ack: ack.tracks[0].received == 1600)
        async with second.dial() as caller:
            resumed = await caller.start(resume=resume(started))
            assert resumed.tracks[0].paused
            await caller.say(1600, sound(1600, 3200))
            await caller.until("ack", lambda ack: ack.tracks[0].received == 3200)
            record = await first.bus.records().get(started.session)
            assert record is not None
            entries = await first.bus.logs().entries(LogKey(record.track_keys()[0], LogName.AUDIO))
            assert sum(len(entry.data) for _, entry in entries) == 2000, "sound from before the pause, and no more"


def one_after_the_other(addresses: list[str]) -> Dial:
    """What a balancer does: each connection goes to the first gateway that is left."""

    @contextlib.asynccontextmanager
    async def connect(token: str | None) -> AsyncIterator[Link]:
        async with dial(addresses[0])(token) as link:
            yield link

    return connect


async def test_a_drain_moves_calls_to_the_other_gateway_and_no_word_is_lost() -> None:
    async with two() as (first, second):
        addresses = [first.stream_url, second.stream_url]
        told: list[Any] = []
        start = wire.Start(tracks=(wire.TrackRequest(name="a", sample_rate=RATE),))
        call = Stream(one_after_the_other(addresses), start, told.append)
        async with asyncio.timeout(2 * LIMIT_S), call:
            for begin in range(0, 10 * UTTERANCE, 400):
                await call.say(0, sound(begin, begin + 400))
                if begin == 4 * UTTERANCE:
                    while not any(isinstance(message, wire.Final) for message in told):
                        await asyncio.sleep(0.01)
                    addresses.pop(0)
                    await first.gateway.drain()
            finals = await call.finish()
        assert [final.text for final in finals] == [
            heard(begin, begin + UTTERANCE) for begin in range(0, 10 * UTTERANCE, UTTERANCE)
        ]
        assert call.resumes == 1
        assert any(isinstance(message, wire.Reconnect) for message in told)
        session = next(message.session for message in told if isinstance(message, wire.Started))
        async with asyncio.timeout(LIMIT_S):
            while (await second.bus.records().get(session)).state is not SessionState.ENDED:  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
