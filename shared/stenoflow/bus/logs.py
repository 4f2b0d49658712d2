"""The port to the logs: append, read, tail, trim (DESIGN 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import Entry, EntryId, Mark


class LogName(StrEnum):
    """The logs of a track, in the order in which sound passes them; ``live`` is superseded, not kept.

    ``drafts`` is there only where the session has a second pass.
    """

    AUDIO = "audio"
    FEATURES = "features"
    EMISSIONS = "emissions"
    DRAFTS = "drafts"
    FINALS = "finals"
    LIVE = "live"


class LogKey(NamedTuple):
    """One log of one track."""

    track: TrackKey
    name: LogName


@dataclass(frozen=True, slots=True)
class Appended:
    """The log took the entry."""

    id: EntryId


@dataclass(frozen=True, slots=True)
class Refused:
    """The log goes further than the writer knew: read it from the own last position on, then append the rest."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The log does not exist; it was not created."""


@dataclass(frozen=True, slots=True)
class Full:
    """The server takes no writes now (memory, or a lost quorum): keep the entry and try again."""

    reason: str


Outcome = Appended | Refused | Gone | Full


@dataclass(frozen=True, slots=True)
class Tail:
    """A log's newest entries: all those that end where the log ends.

    Args:
        id: of the newest entry (its ``n`` is where the next writer at the same end goes on).
        entry: the newest entry.
        marks: the marks that stand exactly at the end, over all entries there.
        marks_count: how many marks the log has held so far.
    """

    id: EntryId
    entry: Entry
    marks: tuple[Mark, ...]
    marks_count: int


def tail_of(newest: Sequence[tuple[EntryId, Entry]]) -> Tail:
    """The tail of a log, from its newest entries: at least all that end where the log ends, oldest first."""
    tail_id, entry = newest[-1]
    marks = tuple(mark for _, each in newest if each.end == entry.end for mark in each.marks if mark.at == entry.end)
    return Tail(tail_id, entry, marks, entry.marks_before + len(entry.marks))


class Logs(Protocol):
    """All logs of one server or cluster.

    Every method may raise :class:`stenoflow.base.errors.BusUnavailable`. After that, and whenever
    :meth:`generation` differs from what it was, a writer must look at its tails before it appends (sentence 6).
    """

    async def append(self, entries: Sequence[tuple[LogKey, EntryId, Entry]]) -> Sequence[Outcome]:
        """Appends each entry to its own log, one conditional XADD each, pipelined; outcomes in order.

        An id that is not greater than the log's last is refused; a log that does not exist is not created; one
        entry's fate says nothing about its neighbour's.
        """
        ...

    async def append_finals(
        self, entries: Sequence[tuple[LogKey, EntryId, Sequence[tuple[EntryId, Entry]]]]
    ) -> Sequence[Outcome]:
        """Appends finals under WATCH: each item is (log, the tail's id that the writer knows, new entries).

        ``Refused`` where the log's tail is another one (a final cannot be sliced); all of an item's entries go in
        or none. The outcome carries the last entry's id.
        """
        ...

    async def publish(self, entries: Sequence[tuple[LogKey, Entry]]) -> Sequence[Outcome]:
        """Appends to ``live`` logs: at most 8 newest kept, ids given by the server, no log created."""
        ...

    async def read(
        self, after: Mapping[LogKey, EntryId], *, block_ms: int | None, count: int = 64
    ) -> Mapping[LogKey, Sequence[tuple[EntryId, Entry]]]:
        """News of many logs: entries after the given ids, at most ``count`` a log.

        Waits up to ``block_ms`` for the first one (None: does not wait). Logs without news are left out; a log
        that is gone looks the same as one without news.
        """
        ...

    async def tail(self, key: LogKey) -> Tail | None:
        """The log's end, or None where the log does not exist."""
        ...

    async def entries(self, key: LogKey, begin: int = 0, end: int | None = None) -> Sequence[tuple[EntryId, Entry]]:
        """Entries whose end lies in ``(begin, end]``, oldest first (for late readers, tests and tools).

        The entry that ends the track stands after everything: it is there even where it ends at ``begin``.
        """
        ...

    async def trim(self, restarts: Mapping[LogKey, int]) -> None:
        """Drops entries that end before the given position, exactly, and never a log's newest entry (sentence 5)."""
        ...

    def generation(self) -> str:
        """Names the server behind the connection (``run_id`` and ``master_replid``), as of the last reconnect."""
        ...
