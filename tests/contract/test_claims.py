"""Claims: taking, renewing, taking over, handing over (DESIGN 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace
from tests.contract.worlds import World, opened, session, until

from stenoflow.base.ids import new_epoch
from stenoflow.bus.claims import Claim, Claims
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import NEEDED, Stages, claims_bundle


def tracks(claims: Sequence[Claim]) -> set[str]:
    return {str(claim.track) for claim in claims}


async def expire(world: World, taker: Claims, places: int) -> Sequence[Claim]:
    return await until(lambda: taker.take_over(places), world.tick)


async def test_a_worker_takes_no_more_than_it_has_places(world: World) -> None:
    all_tracks = await opened(world.bus, 5)
    first, second = (world.bus.claims(Stages.FEATURES, name) for name in ("first", "second"))
    taken = await first.take(3)
    rest = await second.take(100)
    assert (len(taken), len(rest)) == (3, 2)
    assert tracks([*taken, *rest]) == {str(track) for track in all_tracks}
    assert not await first.take(1)


async def test_each_stage_has_claims_of_its_own(world: World) -> None:
    record = session(2)
    await world.bus.records().open(record, opening_entries(record))
    for stage in NEEDED:
        assert len(await world.bus.claims(stage, "worker", claims_bundle(stage, record)).take(8)) == 2
    assert not await world.bus.claims(Stages.SECOND_PASS, "worker").take(8)


async def test_workers_of_one_bundle_never_get_the_calls_of_another(world: World) -> None:
    one, other = replace(session(1), bundle="en-small"), replace(session(2), bundle="telephone")
    for record in (one, other):
        assert await world.bus.records().open(record, opening_entries(record))
    for stage in (Stages.ACOUSTIC, Stages.DECODER):
        assert not await world.bus.claims(stage, "worker").take(8)
        for record in (one, other):
            taken = await world.bus.claims(stage, "worker", record.bundle).take(8)
            assert tracks(taken) == {str(track) for track in record.track_keys()}
    assert len(await world.bus.claims(Stages.FEATURES, "worker").take(8)) == 3, "features are made for all bundles"


async def test_a_second_pass_has_claims_by_model_and_a_log_of_drafts(world: World) -> None:
    record = replace(session(2), second_pass="whisper-tiny.en")
    assert await world.bus.records().open(record, opening_entries(record))
    assert not await world.bus.claims(Stages.SECOND_PASS, "worker", "moonshine").take(8)
    assert len(await world.bus.claims(Stages.SECOND_PASS, "worker", "whisper-tiny.en").take(8)) == 2
    for track in record.track_keys():
        assert await world.bus.logs().tail(LogKey(track, LogName.DRAFTS)) is not None
    plain = session(1)
    assert await world.bus.records().open(plain, opening_entries(plain))
    assert await world.bus.logs().tail(LogKey(plain.track_keys()[0], LogName.DRAFTS)) is None


async def test_claims_that_never_were_opened_are_none(world: World) -> None:
    claims = world.bus.claims(Stages.DECODER, "worker")
    assert not await claims.take(3)
    assert not await claims.renew()
    assert not await claims.take_over(3)
    assert await claims.open_tracks() == 0
    await claims.hand_over([])
    await claims.done([])


async def test_renewal_gives_back_all_that_is_held(world: World) -> None:
    await opened(world.bus, 8)
    claims = world.bus.claims(Stages.FEATURES, "worker")
    taken = await claims.take(8)
    assert tracks(await claims.renew()) == tracks(taken)
    assert not await world.bus.claims(Stages.FEATURES, "other").renew()


async def test_a_lease_that_is_renewed_is_not_taken_over_and_one_that_is_not_is(world: World) -> None:
    await opened(world.bus, 2)
    holder, taker = (world.bus.claims(Stages.FEATURES, name) for name in ("holder", "taker"))
    taken = await holder.take(2)
    assert not await taker.take_over(2), "the lease has just begun"
    for _ in range(30):
        assert len(await holder.renew()) == 2
        assert not await taker.take_over(2)
        await world.tick()
    await holder.renew()
    assert tracks(await expire(world, taker, 2)) == tracks(taken)


async def test_a_worker_that_wakes_up_renews_only_what_is_still_its_own(world: World) -> None:
    """XCLAIM would steal it back, and two workers would write (DESIGN 4)."""
    await opened(world.bus, 3)
    sleeper, taker = (world.bus.claims(Stages.FEATURES, name) for name in ("sleeper", "taker"))
    before = await sleeper.take(3)
    taken = await expire(world, taker, 2)
    left = await sleeper.renew()
    assert tracks(left) | tracks(taken) == tracks(before)
    assert len(left) + len(taken) == 3
    assert tracks(await taker.renew()) == tracks(taken)


async def test_handing_over_lets_another_take_over_at_once(world: World) -> None:
    await opened(world.bus, 4)
    leaver, taker = (world.bus.claims(Stages.FEATURES, name) for name in ("leaver", "taker"))
    taken = await leaver.take(4)
    await leaver.hand_over(taken[:3])
    assert tracks(await taker.take_over(8)) == tracks(taken[:3])
    assert tracks(await leaver.renew()) == tracks(taken[3:])


async def test_handing_over_does_not_take_from_who_took_over(world: World) -> None:
    await opened(world.bus, 1)
    sleeper, taker, third = (world.bus.claims(Stages.FEATURES, name) for name in ("sleeper", "taker", "third"))
    before = await sleeper.take(1)
    await expire(world, taker, 1)
    await sleeper.hand_over(before)
    assert len(await taker.renew()) == 1
    assert not await third.take_over(1)


async def test_take_over_gives_at_most_as_many_as_there_are_places_and_goes_on_from_there(world: World) -> None:
    """One place among many held tracks: the scan must come to the one that was left, wherever it stands."""
    for _ in range(10):
        await opened(world.bus, 8)
    holder, leaver, taker = (world.bus.claims(Stages.FEATURES, name) for name in ("holder", "leaver", "taker"))
    await holder.take(70)
    left = await leaver.take(10)
    await leaver.hand_over(left)
    found: set[str] = set()
    for _ in range(10):
        await holder.renew()
        claims = await taker.take_over(1)
        assert len(claims) <= 1
        found |= tracks(claims)
        await taker.renew()
    assert found == tracks(left)


async def test_done_removes_for_good(world: World) -> None:
    await opened(world.bus, 3)
    first, second = (world.bus.claims(Stages.FEATURES, name) for name in ("first", "second"))
    taken = await first.take(3)
    assert await second.open_tracks() == 3
    await first.done(taken[:2])
    assert await second.open_tracks() == 1
    assert tracks(await first.renew()) == tracks(taken[2:])
    assert tracks(await expire(world, second, 3)) == tracks(taken[2:])


async def test_open_tracks_counts_what_nobody_holds_too(world: World) -> None:
    await opened(world.bus, 2)
    await opened(world.bus, 3)
    claims = world.bus.claims(Stages.FEATURES, "worker")
    assert await claims.open_tracks() == 5
    await claims.take(1)
    assert await claims.open_tracks() == 5


async def test_a_claim_that_goes_under_its_holder_is_lost_to_it(world: World) -> None:
    """A new epoch deletes the old one's claims; 6.2 and 7.0 tell of deleted entries in different ways."""
    record = session(2)
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    holder, taker = (world.bus.claims(Stages.FEATURES, name) for name in ("holder", "taker"))
    assert len(await holder.take(8)) == 2
    again = replace(record, epoch=new_epoch(2))
    found = await records.open(again, opening_entries(again))
    assert found is not None and found.open_tracks[Stages.FEATURES] == 2
    assert not await holder.renew()
    assert not await taker.take_over(8)
    assert tracks(await taker.take(8)) == {str(track) for track in again.track_keys()}


async def test_many_workers_share_all_tracks_and_none_twice(world: World) -> None:
    expected = {str(track) for _ in range(6) for track in await opened(world.bus, 8)}
    workers = [world.bus.claims(Stages.FEATURES, f"worker {number}") for number in range(8)]
    taken = await asyncio.gather(*(worker.take(6) for worker in workers))
    assert sorted(each for claims in taken for each in tracks(claims)) == sorted(expected)
