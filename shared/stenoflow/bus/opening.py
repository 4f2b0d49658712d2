"""The entries that open a session's logs: the one place that knows what a log begins with (DESIGN 2, sentence 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stenoflow.base.ids import TrackKey
from stenoflow.base.positions import Position, to_client
from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import LogName
from stenoflow.bus.records import SessionRecord, TrackInfo


def logs_of(record: SessionRecord) -> tuple[LogName, ...]:
    """The logs that each track of a session has, in the order in which sound passes them."""
    return tuple(name for name in LogName if name is not LogName.DRAFTS or record.second_pass)


def opening_entries(record: SessionRecord) -> Mapping[LogName, Sequence[Entry]]:
    """Per log, the opening entry of every track of the record's epoch."""
    keys = record.track_keys()
    return {
        name: tuple(_opening(name, key, info) for key, info in zip(keys, record.tracks, strict=True))
        for name in logs_of(record)
    }


def opening_id(entry: Entry) -> EntryId:
    """``0-1``, or ``<base>-1`` in a later epoch: positions are absolute."""
    return EntryId(entry.end, 1)


def _opening(name: LogName, track: TrackKey, info: TrackInfo) -> Entry:
    in_client_samples = to_client(Position(info.base), info.sample_rate)
    base = in_client_samples if name is LogName.AUDIO else info.base
    # The features stage reads the audio log, so its restart point counts the client's samples.
    restart = in_client_samples if name in (LogName.AUDIO, LogName.FEATURES) else info.base
    return Entry(track, Kind.OPENING, base, base, restart=restart)
