"""What was said in a session so far: its finals, over all its epochs."""

from __future__ import annotations

from collections.abc import Sequence

from stenoflow.base.ids import Epoch, TrackKey
from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import LogKey, LogName, Logs
from stenoflow.bus.records import Records, SessionRecord
from stenoflow.protocol.messages import Final


def final_of(entry: Entry) -> Final | None:
    """The final in an entry of ``finals``; None where nothing was said, as at openings and in silence."""
    if entry.kind is not Kind.FINAL or not entry.data:
        return None
    final = Final.model_validate_json(entry.data)
    return final if final.text else None


async def finals_of(logs: Logs, records: Records, record: SessionRecord) -> list[Final]:
    """All finals of a session so far, track by track.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    epochs = await records.epochs(record.id)
    found: list[Final] = []
    for number in range(len(record.tracks)):
        entries, _ = await entries_of(logs, record, number, epochs)
        found += [final for entry in entries if (final := final_of(entry)) is not None]
    return found


async def entries_of(
    logs: Logs, record: SessionRecord, number: int, epochs: Sequence[Epoch]
) -> tuple[list[Entry], list[tuple[EntryId, Entry]]]:
    """A track's entries in ``finals``.

    An epoch begins at what its client had as finals: what an earlier one has beyond that was recognised anew.

    Returns:
        those that count over all epochs, in order; and those of the last epoch with their ids, to read on after them.
    """
    found: list[Entry] = []
    last: list[tuple[EntryId, Entry]] = []
    for epoch in epochs:
        last = list(await logs.entries(LogKey(TrackKey(record.id, number, epoch), LogName.FINALS)))
        base = next((entry.end for _, entry in last if entry.kind is Kind.OPENING), 0)
        found = [entry for entry in found if entry.end <= base]
        found += [entry for _, entry in last if entry.kind is Kind.FINAL]
    return found, last
