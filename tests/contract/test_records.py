"""Session records, progress and the worker registry (DESIGN 3 and 4)."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace
from tests.contract.worlds import START, World, caption, opened, session

from stenoflow.base.ids import SessionId, TrackKey, new_epoch
from stenoflow.bus.entry import EntryId
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.opening import logs_of, opening_entries
from stenoflow.bus.records import NEEDED, SessionState, StageProgress, Stages, WorkerStatus, claims_bundle

NOBODY = SessionId("s00-nobody")


async def test_opening_makes_record_logs_claims_and_a_sign_of_life(world: World) -> None:
    record = session(2)
    records = world.bus.records()
    found = await records.open(record, opening_entries(record))
    assert found is not None
    assert found.open_tracks == dict.fromkeys(NEEDED, 2)
    assert await records.get(record.id) == record
    for track in record.track_keys():
        for name in logs_of(record):
            tail = await world.bus.logs().tail(LogKey(track, name))
            assert tail is not None and tail.id == START
    assert await records.abandoned(2**50) == [record.id]
    assert await records.abandoned(0) == []


async def test_a_second_opening_counts_all_claims(world: World) -> None:
    await opened(world.bus, 3)
    record = session(2)
    found = await world.bus.records().open(record, opening_entries(record))
    assert found is not None and found.open_tracks == dict.fromkeys(NEEDED, 5)


async def test_a_later_epoch_begins_at_its_base_and_leaves_only_finals_of_the_old_one(world: World) -> None:
    record = session(2)
    records, logs = world.bus.records(), world.bus.logs()
    await records.open(record, opening_entries(record))
    old = [LogKey(track, name) for track in record.track_keys() for name in logs_of(record)]
    finals = LogKey(record.track_keys()[0], LogName.FINALS)
    await logs.append_finals([(finals, START, [(EntryId(1_600, 1), caption(finals, 0, 1_600))])])
    await records.note_progress(Stages.DECODER, {record.track_keys()[0]: StageProgress(1_600, 1_600, 5)})
    infos = tuple(replace(info, base=1_600) for info in record.tracks)
    again = replace(record, epoch=new_epoch(2), tracks=infos)
    found = await records.open(again, opening_entries(again))
    assert found is not None and found.open_tracks == dict.fromkeys(NEEDED, 2)
    for key in old:
        assert (await logs.tail(key) is not None) == (key.name is LogName.FINALS)
    assert len(await logs.entries(finals)) == 1
    for track in again.track_keys():
        tail = await logs.tail(LogKey(track, LogName.FEATURES))
        assert tail is not None and tail.id == EntryId(1_600, 1)
    assert await records.progress(record.track_keys()) == [{}, {}]
    assert await records.get(record.id) == again


async def test_of_several_openings_with_one_connection_number_all_but_the_last_are_superseded(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    fresh = [replace(record, epoch=new_epoch(number)) for number in range(2, 6)]
    done = await asyncio.gather(*(records.open(each, opening_entries(each)) for each in fresh))
    assert any(done)
    for stage in NEEDED:
        assert await world.bus.claims(stage, "worker", claims_bundle(stage, record)).open_tracks() == 1
    last = await records.get(record.id)
    assert last in fresh


async def test_an_older_connection_opens_nothing(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    newer = await records.connect(record.id, record.token_hash)
    assert newer is not None and newer.connection == record.connection + 1
    late = replace(record, epoch=new_epoch(2))
    assert await records.open(late, opening_entries(late)) is None
    assert await records.get(record.id) == newer
    assert await world.bus.logs().tail(LogKey(late.track_keys()[0], LogName.AUDIO)) is None


async def test_an_epoch_is_not_opened_twice(world: World) -> None:
    record = session()
    records = world.bus.records()
    assert await records.open(record, opening_entries(record)) is not None
    assert await records.open(record, opening_entries(record)) is None
    assert await world.bus.claims(Stages.FEATURES, "worker").open_tracks() == 1


async def test_only_the_holder_of_the_token_connects(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    assert await records.connect(record.id, "another hash") is None
    assert await records.connect(NOBODY, record.token_hash) is None
    assert await records.get(NOBODY) is None
    assert await records.get(record.id) == record


async def test_every_connection_gets_a_number_of_its_own(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    found = await asyncio.gather(*(records.connect(record.id, record.token_hash) for _ in range(4)))
    assert sorted(each.connection for each in found if each) == [2, 3, 4, 5]


async def test_records_come_back_in_order(world: World) -> None:
    first, second = session(), session()
    records = world.bus.records()
    for record in (first, second):
        await records.open(record, opening_entries(record))
    assert await records.get_many([second.id, NOBODY, first.id]) == [second, None, first]
    assert await records.get_many([]) == []


async def test_after_the_end_only_finals_and_the_record_stay(world: World) -> None:
    record = session()
    records, logs = world.bus.records(), world.bus.logs()
    await records.open(record, opening_entries(record))
    assert await records.finish(record, SessionState.ENDED)
    ended = await records.get(record.id)
    assert ended is not None and ended.state is SessionState.ENDED
    for name in logs_of(record):
        tail = await logs.tail(LogKey(record.track_keys()[0], name))
        assert (tail is not None) == (name is LogName.FINALS)
    await records.touch([record.id], 2**49)
    assert await records.abandoned(2**50) == []
    assert not await records.finish(record, SessionState.BROKEN)


async def test_sessions_are_found_while_they_run_and_as_long_as_they_are_kept(world: World) -> None:
    running, over = session(), replace(session(), retention_s=60)
    records = world.bus.records()
    for record in (running, over):
        await records.open(record, opening_entries(record))
    again = replace(running, epoch=new_epoch(2))
    await records.open(again, opening_entries(again))
    assert await records.finish(over, SessionState.ENDED)
    assert set(await records.sessions()) == {running.id, over.id}
    assert list(await records.epochs(running.id)) == [running.epoch, again.epoch]
    assert list(await records.epochs(NOBODY)) == []


async def test_an_ended_session_that_is_deleted_leaves_no_word_and_no_name(world: World) -> None:
    record = replace(session(), metadata={"customer": "4711"})
    records, logs = world.bus.records(), world.bus.logs()
    await records.open(record, opening_entries(record))
    again = replace(record, epoch=new_epoch(2))
    await records.open(again, opening_entries(again))
    await records.finish(again, SessionState.ENDED)
    assert await records.delete(record.id) is not None
    assert await records.sessions() == []
    for epoch in (record, again):
        assert await logs.tail(LogKey(epoch.track_keys()[0], LogName.FINALS)) is None
    left = await records.get(record.id)
    assert left is not None and left.deleted and left.state is SessionState.ENDED
    assert (left.metadata, left.settings, left.tracks[0].name) == ({}, {}, "")
    assert await records.delete(record.id) is None
    assert await records.delete(NOBODY) is None


async def test_a_running_session_that_is_deleted_goes_with_its_end_and_works_until_then(world: World) -> None:
    record = session()
    records, logs = world.bus.records(), world.bus.logs()
    await records.open(record, opening_entries(record))
    assert await records.delete(record.id) == record
    finals = LogKey(record.track_keys()[0], LogName.FINALS)
    assert await logs.tail(finals) is not None
    present = await records.get(record.id)
    assert present is not None and present.deleted and present.tracks == record.tracks
    assert await records.finish(record, SessionState.ENDED)
    assert await logs.tail(finals) is None
    assert await records.sessions() == []


async def test_a_broken_session_keeps_its_logs_and_says_why(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    assert await records.finish(record, SessionState.BROKEN, ("log_gap", "samples were lost"))
    broken = await records.get(record.id)
    assert broken is not None and (broken.state, broken.error) == (
        SessionState.BROKEN,
        ("log_gap", "samples were lost"),
    )
    assert await world.bus.logs().tail(LogKey(record.track_keys()[0], LogName.AUDIO)) is not None


async def test_a_superseded_epoch_cannot_finish_its_successor(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    again = replace(record, epoch=new_epoch(2))
    await records.open(again, opening_entries(again))
    assert not await records.finish(record, SessionState.BROKEN, ("log_gap", ""))
    assert await records.get(record.id) == again


async def test_signs_of_life_keep_a_session_from_being_abandoned(world: World) -> None:
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    await records.touch([record.id, NOBODY], 2**49)
    assert await records.abandoned(2**49) == []
    assert await records.abandoned(2**49 + 1) == [record.id]


async def test_whoever_comes_back_is_alive(world: World) -> None:
    """The next sign of life may be 15 s away, and 60 s may be over before."""
    record = session()
    records = world.bus.records()
    await records.open(record, opening_entries(record))
    await records.touch([record.id], 1)
    assert await records.abandoned(2) == [record.id]
    await records.connect(record.id, record.token_hash)
    assert await records.abandoned(2) == []
    assert await records.finish(record, SessionState.ENDED)
    await records.connect(record.id, record.token_hash)
    assert await records.abandoned(2**50) == [], "one that has ended is not open again"


async def test_progress_is_kept_per_stage_and_track(world: World) -> None:
    first, second = await opened(world.bus, 2)
    records = world.bus.records()
    features, decoder = StageProgress(320, 160, 7), StageProgress(160, 0, 8)
    await records.note_progress(Stages.FEATURES, {first: features, second: decoder})
    await records.note_progress(Stages.DECODER, {first: decoder})
    newer = StageProgress(640, 320, 9)
    await records.note_progress(Stages.FEATURES, {second: newer})
    assert await records.progress([second, first]) == [
        {Stages.FEATURES: newer},
        {Stages.FEATURES: features, Stages.DECODER: decoder},
    ]
    assert await records.progress([TrackKey(NOBODY, 0, first.epoch)]) == [{}]


async def test_take_overs_without_progress_are_counted(world: World) -> None:
    first, second = await opened(world.bus, 2)
    records = world.bus.records()
    counts = [await records.count_takeover(Stages.DECODER, first, position) for position in (160, 160, 160, 320, 320)]
    assert counts == [1, 2, 3, 1, 2]
    await records.uncount_takeovers(Stages.DECODER, {first: 320})
    assert await records.count_takeover(Stages.DECODER, first, 320) == 2
    assert await records.count_takeover(Stages.DECODER, second, 320) == 1
    assert await records.count_takeover(Stages.FEATURES, first, 320) == 1
    assert await records.progress([first]) == [{}]


async def test_workers_are_known_while_they_announce_themselves(world: World) -> None:
    records = world.bus.records()
    lively = WorkerStatus("a", Stages.DECODER, 8, 2, "en-small", "0.1.0", {"device": "cpu"})
    leaving = WorkerStatus("b", Stages.FEATURES, 8, 0)
    silent = WorkerStatus("c", Stages.ACOUSTIC, 8, 0)
    await records.announce(silent, 1_000_000)
    await records.announce(lively, 1_010_000)
    await records.announce(leaving, 1_010_000)
    assert sorted(each.id for each in await records.workers(1_012_000)) == ["a", "b"]
    await records.withdraw(leaving)
    assert await records.workers(1_015_000) == [lively]
    assert await records.workers(1_015_001) == []


async def test_the_server_says_what_it_is(world: World) -> None:
    records = world.bus.records()
    assert await records.server_version() >= (6, 2)
    assert 0.0 <= await records.memory_fraction() < 1.0
