"""Risk: one tenant takes the places of all others, or is refused what it may have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.gateway.harness import LIMIT_S, Caller, Running, serving
from tests.unit.gateway.test_access import KEY, dial, guarded, token
from tests.unit.gateway.test_parts import FakeClock
from tests.unit.gateway.test_states import Session_record
from tests.unit.gateway.world import RATE

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import new_session_id
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.records import SessionRecord, TrackInfo
from stenoflow.protocol import messages as wire
from stenoflow_gateway.access.tenants import Limits, Tenants


def record(tenant: str = "acme", tracks: int = 1) -> SessionRecord:
    infos = tuple(TrackInfo(f"t{number}", "pcm_s16le", 8000) for number in range(tracks))
    return replace(Session_record(), id=new_session_id(0), tracks=infos, tenant=tenant)


class World:
    """Two gateways' accounts over one bus."""

    def __init__(self, **limits: int) -> None:
        self.clock = FakeClock()
        bus = MemoryBus(self.clock)
        self.one, self.other = (Tenants(bus.doors(), Limits(**limits), self.clock) for _ in range(2))

    async def refuses(self, new: SessionRecord) -> ClientError:
        with pytest.raises(ClientError) as error:
            await self.other.enter(new)
        assert (error.value.code, error.value.retryable) == ("tenant_limit", True)
        return error.value


async def test_gateways_agree_on_how_many_sessions_a_tenant_has_open() -> None:
    world = World(sessions=2)
    first = record()
    await world.one.enter(first)
    await world.other.enter(record())
    await world.refuses(record())
    await world.other.enter(record("another"))
    await world.one.leave(first)
    await world.other.enter(record())
    assert "2 sessions" in (await world.refuses(record())).message


async def test_who_was_refused_does_not_count() -> None:
    world = World(tracks=4, begun_per_minute=3)
    await world.one.enter(record(tracks=2))
    for _ in range(5):
        await world.refuses(record(tracks=3))
    await world.one.enter(record(tracks=2))


async def test_sessions_of_a_minute_are_counted_whether_they_last_or_not() -> None:
    world = World(begun_per_minute=2)
    for _ in range(2):
        short = record()
        await world.one.enter(short)
        await world.one.leave(short)
        world.clock.now += 10
    error = await world.refuses(record())
    assert error.retry_after_ms == 40_000, "when the first of them is a minute old"
    world.clock.now += 41
    await world.one.enter(record())


async def test_a_session_that_never_began_is_none_of_the_minute() -> None:
    world = World(begun_per_minute=1)
    short = record()
    await world.one.enter(short)
    await world.one.leave(short, began=False)
    await world.one.enter(record())


async def test_a_session_counts_as_long_as_somebody_speaks_for_it() -> None:
    world = World(sessions=2)
    lively, lost = record(), record()
    await world.one.enter(lively)
    await world.one.enter(lost)
    for _ in range(20):
        world.clock.now += 15
        await world.one.touch([lively])
    await world.other.enter(record())
    await world.refuses(record())


async def test_an_empty_redis_learns_again_what_is_open() -> None:
    clock = FakeClock()
    bus = MemoryBus(clock)
    tenants = Tenants(bus.doors(), Limits(sessions=1), clock)
    lively = record()
    await tenants.enter(lively)
    bus.restart(empty=True)
    await tenants.touch([lively])
    with pytest.raises(ClientError):
        await tenants.enter(record())


async def test_without_a_tenant_nothing_is_counted() -> None:
    world = World(sessions=1)
    for _ in range(3):
        await world.one.enter(record(""))


# ---------------------------------------------------------------- over sockets


async def _refusal(running: Running, tracks: int = 1, tenant: str = "acme") -> wire.Error:
    async with dial(running, token(tenant)) as caller:
        names = tuple(wire.TrackRequest(name=f"t{number}", sample_rate=RATE) for number in range(tracks))
        await caller.send(wire.Start(tracks=names))
        error: wire.Error = await caller.until("error")
        assert await caller.closed() == 4429
        return error


async def _begins(running: Running, tracks: int, tenant: str = "acme") -> None:
    """Begins a session once there is room for it, and ends it."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            async with dial(running, token(tenant)) as caller:
                names = tuple(wire.TrackRequest(name=f"t{number}", sample_rate=RATE) for number in range(tracks))
                await caller.send(wire.Start(tracks=names))
                message = wire.parse_server(await caller.socket.recv())
                if message.type == "started":
                    await _end(caller)
                    return
                assert message.code == "tenant_limit"


async def _end(caller: Caller) -> None:
    await caller.send(wire.Stop())
    await caller.until("ended")


async def test_a_tenant_at_its_limit_is_refused_at_every_gateway_and_others_are_not() -> None:
    settings: dict[str, Any] = {"tenant_tracks": 3}
    async with (
        guarded(**settings) as first,
        serving(first.bus, first.echo, {"token_key": KEY, **settings}) as second,
        dial(first, token()) as caller,
    ):
        await caller.start(tracks=2)
        error = await _refusal(second, tracks=2)
        assert (error.code, error.retryable) == ("tenant_limit", True)
        assert error.retry_after_ms is not None
        await _begins(second, tracks=2, tenant="another")
        await _end(caller)
        await _begins(second, tracks=3)


async def test_a_call_that_found_no_place_is_not_held_against_its_tenant() -> None:
    async with guarded(tenant_sessions_per_minute=1, tenant_sessions=1) as running:
        running.echo.places = 0
        await running.echo.announce()
        running.gateway.admission._workers_at = float("-inf")
        assert (await _refusal(running)).code == "at_capacity"
        running.echo.places = 8
        await running.echo.announce()
        running.gateway.admission._workers_at = float("-inf")
        await _begins(running, tracks=1)
