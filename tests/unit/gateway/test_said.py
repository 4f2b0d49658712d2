"""What was said, over epochs: what a new epoch recognised anew takes the place of what the client never had."""

from __future__ import annotations

import json

from msgspec.structs import replace
from tests.contract.worlds import START, session

from stenoflow.base.clock import SystemClock
from stenoflow.base.ids import new_epoch
from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.memory import MemoryBus
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import SessionRecord
from stenoflow_gateway.sockets.said import finals_of


async def say(bus: MemoryBus, record: SessionRecord, after: EntryId, begin: int, end: int, text: str) -> None:
    key = LogKey(record.track_keys()[0], LogName.FINALS)
    fields = {"type": "final", "track": 0, "utterance": 0, "begin": begin, "end": end, "text": text}
    data = json.dumps({**fields, "words": [], "confidence": 1.0}).encode()
    entry = Entry(key.track, Kind.FINAL, begin, end, data=data)
    await bus.logs().append_finals([(key, after, [(EntryId(end, 1), entry)])])


async def test_an_epoch_counts_up_to_where_the_next_one_begins() -> None:
    bus = MemoryBus(SystemClock())
    first = session()
    await bus.records().open(first, opening_entries(first))
    await say(bus, first, START, 0, 1600, "what the client had")
    await say(bus, first, EntryId(1600, 1), 1600, 3200, "what it never got")
    infos = tuple(replace(info, base=1600) for info in first.tracks)
    second = replace(first, epoch=new_epoch(2), tracks=infos)
    await bus.records().open(second, opening_entries(second))
    await say(bus, second, EntryId(1600, 1), 1600, 3000, "what was heard anew")
    await say(bus, second, EntryId(3000, 1), 3000, 4000, "")
    said = await finals_of(bus.logs(), bus.records(), second)
    assert [final.text for final in said] == ["what the client had", "what was heard anew"]
