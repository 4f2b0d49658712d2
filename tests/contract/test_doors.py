"""Tickets and what tenants have open (the port ``stenoflow.bus.doors``)."""

from __future__ import annotations

import asyncio

from tests.contract.worlds import RedisWorld, World

from stenoflow.base.ids import new_session_id
from stenoflow.bus.doors import MINUTE_MS, SILENT_MS, OpenSession, Standing
from stenoflow.bus.records import TTL_S

NOW = 1_700_000_000_000


def call(tracks: int = 1) -> OpenSession:
    return OpenSession(new_session_id(0), tracks)


async def test_a_ticket_is_given_out_once(world: World) -> None:
    doors = world.bus.doors()
    await doors.keep_ticket("a", b"one", 60)
    await doors.keep_ticket("b", b"two", 60)
    found = await asyncio.gather(*(world.bus.doors().take_ticket("a") for _ in range(5)))
    assert sorted(each for each in found if each) == [b"one"]
    assert await doors.take_ticket("b") == b"two"
    assert await doors.take_ticket("c") is None


async def test_a_ticket_that_nobody_takes_vanishes(world: World) -> None:
    doors = world.bus.doors()
    await doors.keep_ticket("a", b"one", 1)
    for _ in range(60):
        await world.tick()
    assert await doors.take_ticket("a") is None


async def test_a_standing_counts_sessions_and_tracks_of_its_own_tenant(world: World) -> None:
    doors = world.bus.doors()
    first, second = call(2), call(3)
    assert await doors.enter("acme", first, NOW) == Standing(1, 2, 1, NOW)
    assert await doors.enter("acme", second, NOW + 5) == Standing(2, 5, 2, NOW)
    assert await doors.enter("acme", second, NOW + 5) == Standing(2, 5, 2, NOW), "a session counts once"
    assert await doors.enter("another", call(), NOW) == Standing(1, 1, 1, NOW)
    await doors.leave("acme", first, began=True)
    await doors.leave("acme", second, began=False)
    await doors.leave("nobody", second, began=False)
    assert await doors.enter("acme", call(), NOW + 9) == Standing(1, 1, 2, NOW)


async def test_of_several_that_enter_at_one_moment_each_has_a_place_of_its_own(world: World) -> None:
    doors = world.bus.doors()
    standings = await asyncio.gather(*(doors.enter("acme", call(), NOW) for _ in range(6)))
    assert sorted(each.sessions for each in standings) == [1, 2, 3, 4, 5, 6]


async def test_what_is_silent_or_past_does_not_count_and_touch_brings_it_back(world: World) -> None:
    doors = world.bus.doors()
    lost, lively = call(), call(2)
    await doors.enter("acme", lost, NOW)
    await doors.enter("acme", lively, NOW)
    later = NOW + SILENT_MS + 1
    await doors.touch({"acme": [lively]}, later)
    assert await doors.enter("acme", call(), later) == Standing(2, 3, 1, later)
    await doors.touch({"acme": [lost], "another": [call()]}, later)
    assert (await doors.enter("acme", call(), later + MINUTE_MS)).sessions == 4
    await doors.touch({}, later)


async def test_every_key_of_the_doors_has_a_time_to_live(redis_world: RedisWorld) -> None:
    doors, raw = redis_world.bus.doors(), redis_world.raw
    await doors.keep_ticket("a", b"one", 60)
    await doors.enter("acme", call(), NOW)
    await doors.touch({"another": [call()]}, NOW)
    keys = raw.keys()
    assert len(keys) == 4
    assert all(0 < raw.ttl(key) <= TTL_S for key in keys)
