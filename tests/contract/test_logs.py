"""Logs: conditional appends, reads, tails and trims (DESIGN 2)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from tests.contract.worlds import START, World, caption, mark, opened, opened_log, sound

from stenoflow.bus.entry import END_ID, Cursor, Entry, EntryId, MarkKind, drop_before
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, LogName, Logs, Refused, Tail


async def read_all(logs: Logs, key: LogKey) -> list[tuple[EntryId, Entry]]:
    return list((await logs.read({key: EntryId(0, 0)}, block_ms=None, count=10_000)).get(key, []))


async def test_an_entry_comes_back_as_it_was(world: World) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    entry = sound(key, 0, 160, [mark(MarkKind.CONFIGURE, 80)])
    assert await logs.append([(key, EntryId(160, 1), entry)]) == [Appended(EntryId(160, 1))]
    assert await logs.read({key: START}, block_ms=None) == {key: [(EntryId(160, 1), entry)]}


@pytest.mark.parametrize("entry_id", [EntryId(160, 1), EntryId(159, 9), START])
async def test_an_id_that_is_not_greater_is_refused(world: World, entry_id: EntryId) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))])
    (outcome,) = await logs.append([(key, entry_id, sound(key, 0, entry_id.end))])
    assert isinstance(outcome, Refused)
    assert len(await read_all(logs, key)) == 2


async def test_ids_at_one_position_are_counted_on(world: World) -> None:
    key = await opened_log(world.bus)
    outcomes = await world.bus.logs().append(
        [(key, EntryId(160, n), sound(key, 160 if n > 1 else 0, 160)) for n in (1, 2, 3)]
    )
    assert outcomes == [Appended(EntryId(160, n)) for n in (1, 2, 3)]


async def test_a_log_that_is_gone_is_not_created_again(world: World) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    world.lose(key)
    assert await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))]) == [Gone()]
    assert await logs.append_finals([(key, START, [(EntryId(160, 1), sound(key, 0, 160))])]) == [Gone()]
    assert await logs.publish([(key, sound(key, 0, 160))]) == [Gone()]
    assert await logs.tail(key) is None
    assert await logs.read({key: START}, block_ms=None) == {}


async def test_running_full_within_a_batch_harms_only_the_entries_that_did_not_fit(world: World) -> None:
    tracks = [track for _ in range(8) for track in await opened(world.bus, 8)]
    keys = [LogKey(track, LogName.AUDIO) for track in tracks]
    logs = world.bus.logs()
    size = 20_000
    batch = [(key, EntryId(size, 1), sound(key, 0, size)) for key in keys]
    world.leave_room_for_half(keys, 2 * size)
    outcomes = await logs.append(batch)
    kinds = {type(outcome) for outcome in outcomes}
    assert kinds == {Appended, Full}, "the batch was to be cut in the middle"
    for (key, entry_id, _), outcome in zip(batch, outcomes, strict=True):
        tail = await logs.tail(key)
        assert tail is not None
        assert tail.id == (entry_id if isinstance(outcome, Appended) else START)
    world.make_room()
    again = [item for item, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, Full)]
    assert {type(outcome) for outcome in await logs.append(again)} == {Appended}


async def test_neighbours_in_a_batch_have_fates_of_their_own(world: World) -> None:
    first, second, third = [LogKey(track, LogName.AUDIO) for track in await opened(world.bus, 3)]
    logs = world.bus.logs()
    await logs.append([(second, EntryId(160, 1), sound(second, 0, 160))])
    world.lose(third)
    batch = [(key, EntryId(160, 1), sound(key, 0, 160)) for key in (first, second, third)]
    assert [type(outcome) for outcome in await logs.append(batch)] == [Appended, Refused, Gone]


async def test_nothing_follows_the_end(world: World) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    end = sound(key, 0, 160, [mark(MarkKind.END, 160)])
    assert await logs.append([(key, END_ID, end)]) == [Appended(END_ID)]
    for entry_id in (EntryId(320, 1), EntryId(160, 2), END_ID):
        (outcome,) = await logs.append([(key, entry_id, sound(key, 160, 320))])
        assert isinstance(outcome, Refused)
    tail = await logs.tail(key)
    assert tail == Tail(END_ID, end, end.marks, 1)


async def test_two_writers_with_different_chunks_tile_one_log(world: World) -> None:
    """A worker that lost its lease without knowing writes beside the one that took over (DESIGN 2, sentence 2).

    Entries may overlap in the log: an id beyond the tail passes, though its data began before it. Readers get each
    sample and each mark once (sentence 1).
    """
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    total, chance = 12_000, random.Random(7)
    marks = [mark(MarkKind.FINALIZE, at, number) for number, at in enumerate(range(1_000, total, 1_000))]

    async def write(chunk: int) -> None:
        tail = Tail(START, sound(key, 0, 0), (), 0)
        for begin in range(0, total, chunk):
            end = min(begin + chunk, total)
            made = sound(key, begin, end, [each for each in marks if begin < each.at <= end])
            while True:
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                known = frozenset(each.identity for each in tail.marks)
                news = drop_before(made, tail.entry.end, known)
                if news.end <= tail.entry.end and not news.marks:
                    break
                entry = replace(news, marks_before=tail.marks_count)
                entry_id = EntryId(entry.end, tail.id.n + 1 if entry.end == tail.entry.end else 1)
                (outcome,) = await logs.append([(key, entry_id, entry)])
                found = await logs.tail(key)
                assert found is not None
                tail = found
                if isinstance(outcome, Appended):
                    break

    await asyncio.gather(write(700), write(1_100), write(160))
    cursor = Cursor(key.track, 0)
    written = await read_all(logs, key)
    news = [entry for entry_id, raw in written if (entry := cursor.take(entry_id, raw)) is not None]
    assert [entry.begin for entry in news[1:]] == [entry.end for entry in news[:-1]]
    assert b"".join(entry.data for entry in news) == sound(key, 0, total).data
    assert [each for entry in news for each in entry.marks] == marks


async def test_a_mark_that_is_sent_again_is_recognised(world: World) -> None:
    """Its first append came through, the reply did not; the writer looks at the tail and sends nothing twice."""
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    finalize = mark(MarkKind.FINALIZE, 160)
    await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))])
    await logs.append([(key, EntryId(160, 2), sound(key, 160, 160, [finalize]))])
    (outcome,) = await logs.append([(key, EntryId(160, 2), sound(key, 160, 160, [finalize]))])
    assert isinstance(outcome, Refused)
    tail = await logs.tail(key)
    assert tail is not None and tail.marks == (finalize,) and tail.marks_count == 1
    rest = drop_before(sound(key, 160, 160, [finalize]), 160, frozenset(each.identity for each in tail.marks))
    assert not rest.marks
    # A writer that does not look: its readers see the mark once all the same.
    await logs.append([(key, EntryId(160, 3), sound(key, 160, 160, [finalize], 1))])
    cursor = Cursor(key.track, 0)
    taken = [cursor.take(*each) for each in await read_all(logs, key)]
    assert [each for entry in taken if entry for each in entry.marks] == [finalize]


async def test_the_tail_holds_the_marks_of_all_entries_that_end_there(world: World) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    marks = [mark(MarkKind.QUALITY, 80, 0), *(mark(MarkKind.FINALIZE, 160, number) for number in (1, 2, 3))]
    await logs.append(
        [
            (key, EntryId(160, 1), sound(key, 0, 160, marks[:2])),
            (key, EntryId(160, 2), sound(key, 160, 160, marks[2:3], 2)),
            (key, EntryId(160, 3), sound(key, 160, 160, marks[3:], 3)),
        ]
    )
    tail = await logs.tail(key)
    assert tail is not None
    assert (tail.id, tail.marks, tail.marks_count) == (EntryId(160, 3), tuple(marks[1:]), 4)


async def test_reading_after_a_position_without_count_sees_what_ends_exactly_there(world: World) -> None:
    """A reader that comes back sets its cursor to ``<position>-0``: marks at the position may still be news."""
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    await logs.append([(key, EntryId(160, 1), sound(key, 0, 160)), (key, EntryId(320, 1), sound(key, 160, 320))])
    news = await logs.read({key: EntryId(160, 0)}, block_ms=None)
    assert [entry_id for entry_id, _ in news[key]] == [EntryId(160, 1), EntryId(320, 1)]


async def test_a_read_gives_at_most_count_entries_a_log(world: World) -> None:
    first, second = [LogKey(track, LogName.AUDIO) for track in await opened(world.bus, 2)]
    logs = world.bus.logs()
    for n in range(1, 6):
        await logs.append([(key, EntryId(n, 1), sound(key, n - 1, n)) for key in (first, second)])
    news = await logs.read({first: START, second: START}, block_ms=None, count=3)
    assert {key: [entry_id.end for entry_id, _ in entries] for key, entries in news.items()} == {
        first: [1, 2, 3],
        second: [1, 2, 3],
    }


async def test_a_waiting_read_ends_with_the_first_news(world: World) -> None:
    first, second = [LogKey(track, LogName.AUDIO) for track in await opened(world.bus, 2)]
    logs = world.bus.logs()
    reading = asyncio.create_task(logs.read({first: START, second: START}, block_ms=30_000))
    await asyncio.sleep(0)
    await logs.append([(second, EntryId(160, 1), sound(second, 0, 160))])
    news = await asyncio.wait_for(reading, 5)
    assert list(news) == [second]


async def test_a_waiting_read_without_news_ends(world: World) -> None:
    key = await opened_log(world.bus)
    assert await asyncio.wait_for(world.bus.logs().read({key: START}, block_ms=20), 5) == {}


async def test_trimming_keeps_what_ends_at_the_restart_point(world: World) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    for n in range(1, 200):
        await logs.append([(key, EntryId(160 * n, 1), sound(key, 160 * (n - 1), 160 * n))])
    await logs.trim({key: 160 * 150})
    assert [entry_id for entry_id, _ in await read_all(logs, key)] == [EntryId(160 * n, 1) for n in range(150, 200)]


@pytest.mark.parametrize("was_read", [True, False])
@pytest.mark.parametrize("restart", [160, 161, 99_999])
async def test_trimming_never_takes_the_newest_entry(world: World, restart: int, was_read: bool) -> None:
    """Without it the next writer would not know where the log ends, and ids would start anew."""
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    await logs.append([(key, EntryId(160, 1), sound(key, 0, 160))])
    if was_read:
        await logs.read({key: START}, block_ms=None)
    await logs.trim({key: restart})
    tail = await logs.tail(key)
    assert tail is not None and tail.id == EntryId(160, 1)


async def test_entries_are_found_by_the_positions_where_they_end(world: World) -> None:
    key = await opened_log(world.bus)
    logs = world.bus.logs()
    for n in (1, 2, 3):
        await logs.append([(key, EntryId(160 * n, 1), sound(key, 160 * (n - 1), 160 * n))])
    end = sound(key, 480, 480, [mark(MarkKind.END, 480)])
    await logs.append([(key, END_ID, end)])
    found = [entry_id for entry_id, _ in await logs.entries(key, 160, 320)]
    assert found == [EntryId(320, 1)]
    assert [entry_id for entry_id, _ in await logs.entries(key)] == [EntryId(160 * n, 1) for n in (1, 2, 3)] + [END_ID]
    assert [entry_id for entry_id, _ in await logs.entries(key, 320, 480)] == [EntryId(480, 1), END_ID]
    assert [entry_id for entry_id, _ in await logs.entries(key, 480)] == [END_ID]


async def test_live_keeps_the_eight_newest(world: World) -> None:
    key = await opened_log(world.bus, LogName.LIVE)
    logs = world.bus.logs()
    for number in range(20):
        (outcome,) = await logs.publish([(key, caption(key, number, number, str(number)))])
        assert isinstance(outcome, Appended)
    kept = await read_all(logs, key)
    assert [entry.data for _, entry in kept] == [str(number).encode() for number in range(12, 20)]
    assert [entry_id for entry_id, _ in kept] == sorted({entry_id for entry_id, _ in kept})


async def test_finals_go_in_only_behind_the_tail_that_their_writer_knows(world: World) -> None:
    key = await opened_log(world.bus, LogName.FINALS)
    logs = world.bus.logs()
    first = [(EntryId(100, 1), caption(key, 0, 100)), (EntryId(200, 1), caption(key, 100, 200))]
    assert await logs.append_finals([(key, START, first)]) == [Appended(EntryId(200, 1))]
    late = [(EntryId(300, 1), caption(key, 0, 300, "another hypothesis"))]
    (outcome,) = await logs.append_finals([(key, START, late)])
    assert isinstance(outcome, Refused)
    assert [entry_id for entry_id, _ in await logs.entries(key)] == [EntryId(100, 1), EntryId(200, 1)]
    assert await logs.append_finals([(key, EntryId(200, 1), [(END_ID, caption(key, 200, 300))])]) == [Appended(END_ID)]


async def test_finals_of_one_step_have_fates_of_their_own(world: World) -> None:
    keys = [LogKey(track, LogName.FINALS) for track in await opened(world.bus, 3)]
    logs = world.bus.logs()
    await logs.append_finals([(keys[1], START, [(EntryId(50, 1), caption(keys[1], 0, 50))])])
    world.lose(keys[2])
    outcomes = await logs.append_finals([(key, START, [(EntryId(100, 1), caption(key, 0, 100))]) for key in keys])
    assert [type(outcome) for outcome in outcomes] == [Appended, Refused, Gone]


async def test_of_two_writers_of_finals_one_wins(world: World) -> None:
    keys = [LogKey(track, LogName.FINALS) for track in await opened(world.bus, 8)]
    logs = world.bus.logs()

    async def write(text: str) -> list[bool]:
        step = [(key, START, [(EntryId(100, 1), caption(key, 0, 100, text))]) for key in keys]
        return [isinstance(outcome, Appended) for outcome in await logs.append_finals(step)]

    won = await asyncio.gather(*(write(f"writer {number}") for number in range(6)))
    assert [sum(fates) for fates in zip(*won, strict=True)] == [1] * len(keys)
    for key in keys:
        assert len(await logs.entries(key)) == 1


async def test_each_of_200_tracks_sees_only_its_own(world: World) -> None:
    """No call ever shows another's words (DESIGN 3); reads are cut short all the time."""
    keys = [LogKey(track, LogName.AUDIO) for _ in range(25) for track in await opened(world.bus, 8)]
    logs = world.bus.logs()
    cursors = {key: Cursor(key.track, 0) for key in keys}
    heard = dict.fromkeys(keys, b"")
    chance = random.Random(3)
    rounds, size = 6, 40

    async def write() -> None:
        for n in range(rounds):
            for part in range(4):
                batch = [
                    (key, EntryId((n + 1) * size, 1), sound(key, n * size, (n + 1) * size)) for key in keys[part::4]
                ]
                assert {type(outcome) for outcome in await logs.append(batch)} == {Appended}

    async def listen(mine: list[LogKey]) -> None:
        while any(cursors[key].position < rounds * size for key in mine):
            reading = asyncio.create_task(logs.read({key: cursors[key].read_after for key in mine}, block_ms=20))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
                reading.cancel()
            await asyncio.wait([reading])
            for key, news in () if reading.cancelled() else reading.result().items():
                for entry_id, raw in news:
                    entry = cursors[key].take(entry_id, raw)
                    heard[key] += entry.data if entry else b""

    await asyncio.wait_for(asyncio.gather(write(), *(listen(keys[part::5]) for part in range(5))), 30)
    assert all(heard[key] == sound(key, 0, rounds * size).data for key in keys)
