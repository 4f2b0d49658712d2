"""For a stage that hears again: the sound and the emissions behind entries of its input (DESIGN 6a).

Such a stage asks for a stretch of the track with some entries (:meth:`LooksBack.wants`); the runtime reads it from the
logs that hold it and puts it before the entry. It takes what has waited longest first and no more at once than the
stage can do in one step. What has waited longer than the budget gets nothing: the stage then lets it through as it is,
so a queue never makes captions later than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

from stenoflow.base.clock import Clock
from stenoflow.base.positions import SAMPLE_RATE, Position, to_client
from stenoflow.bus.entry import Entry, EntryId
from stenoflow.bus.logs import LogKey, LogName, Logs
from stenoflow.runtime.stage import Track

MARGIN = SAMPLE_RATE // 5
"""A stage may hear 200 ms more than its entry covers; so much before what is final stays in the logs."""

LONGEST_ENTRY = 2 * SAMPLE_RATE
"""No entry of sound or emissions covers more: one that begins before a stretch ends, ends within this of it."""

HEARD_AGAIN = (LogName.AUDIO, LogName.EMISSIONS)
"""The logs that are read again; who else reads them trims them no further than both need (DESIGN 6a)."""


class Stretch(NamedTuple):
    """``[begin, end)`` of a track, 16 kHz samples."""

    begin: int
    end: int


class LooksBack(Protocol):
    """What a stage has besides :class:`stenoflow.runtime.stage.Stage` if it hears again."""

    at_once: int
    """How many stretches it takes in one step."""

    def wants(self, entry: Entry) -> Stretch | None:
        """The stretch that it has to hear to deal with an entry of its input; None where it needs none."""
        ...


class _Run(Protocol):
    track: Track


class Waiting(Protocol):
    """A track with news; :class:`stenoflow.runtime.holdings.Held` is one."""

    @property
    def run(self) -> _Run:
        """Whose news."""
        ...


Holder = TypeVar("Holder", bound=Waiting)
News = Sequence[tuple[EntryId, Entry]]


@dataclass(frozen=True, slots=True)
class Chosen(Generic[Holder]):
    """What is taken now.

    Args:
        news: the entries of each track, up to the first one whose turn has not come.
        heard: by track and end of the entry, what is to be heard with it.
    """

    news: Mapping[Holder, News]
    heard: Mapping[tuple[Holder, int], Stretch]


@dataclass(slots=True)
class LookBack(Generic[Holder]):
    """Chooses whose turn it is, and reads what they want to hear.

    Args:
        stage: what hears again.
        logs: where sound and emissions are.
        clock: time.
        budget_s: after so long a wait an entry is let through unheard.
    """

    stage: LooksBack
    logs: Logs
    clock: Clock
    budget_s: float
    _seen: dict[tuple[Holder, int], float] = field(default_factory=dict)

    def choose(self, news: Mapping[Holder, News]) -> Chosen[Holder]:
        """Whose turn it is now; what is left out comes again with the next read."""
        now = self.clock.monotonic()
        wanted = {
            (holder, entry.end): stretch
            for holder, entries in news.items()
            for _, entry in entries
            if (stretch := self.stage.wants(entry)) is not None
        }
        self._seen = {key: self._seen.get(key, now) for key in wanted}
        late = {key for key, seen in self._seen.items() if now - seen > self.budget_s}
        in_turn = sorted(wanted.keys() - late, key=lambda key: (self._seen[key], key[1]))
        heard = {key: wanted[key] for key in in_turn[: self.stage.at_once]}
        taken: dict[Holder, News] = {}
        for holder, entries in news.items():
            count = 0
            for _, entry in entries:
                key = (holder, entry.end)
                if key in wanted and key not in late and key not in heard:
                    break
                count += 1
            if count:
                taken[holder] = entries[:count]
        # A track's entries pass in order: one that was chosen behind one that was not waits for another turn.
        reached = {(holder, entry.end) for holder, entries in taken.items() for _, entry in entries}
        return Chosen(taken, {key: stretch for key, stretch in heard.items() if key in reached})

    async def read(self, chosen: Chosen[Holder]) -> Mapping[Holder, Mapping[int, Sequence[Entry]]]:
        """The entries of sound and emissions for what was chosen, by track and by the end of the entry they go with.

        Raises:
            BusUnavailable: nothing was taken yet; choose again.
        """
        found: dict[Holder, dict[int, Sequence[Entry]]] = {}
        for (holder, end), stretch in chosen.heard.items():
            entries: list[Entry] = []
            for name in HEARD_AGAIN:
                begin, until = in_units_of(name, holder.run.track, stretch)
                raw = await self.logs.entries(LogKey(holder.run.track.key, name), begin, until)
                entries += [entry for _, entry in raw]
            found.setdefault(holder, {})[end] = entries
        return found


def in_units_of(name: LogName, track: Track, stretch: Stretch) -> tuple[int, int]:
    """The ids of a log's entries that cover a stretch lie in ``(first, second]``."""
    begin, end = max(0, stretch.begin), stretch.end + LONGEST_ENTRY
    if name is LogName.AUDIO:
        return to_client(Position(begin), track.sample_rate), to_client(Position(end), track.sample_rate)
    return begin, end


def with_what_is_heard(entries: Sequence[Entry], heard: Mapping[int, Sequence[Entry]]) -> list[Entry]:
    """A track's news, every entry that something is heard with preceded by it (key: the entry's end)."""
    return [each for entry in entries for each in (*heard.get(entry.end, ()), entry)]
