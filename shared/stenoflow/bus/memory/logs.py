"""Logs in memory: a synchronous store with the rules of Redis streams, and the asynchronous port over it."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from stenoflow.bus.entry import Entry, EntryId, decode_entry, encode_header
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, Outcome, Refused, Tail, tail_of
from stenoflow.bus.memory.state import State, StoredEntry

LIVE_KEPT = 8
"""Entries that a ``live`` log keeps (DESIGN 3)."""


class LogStore:
    """The logs as plain function calls: what the in-process pipeline and the simulation use.

    Args:
        state: of the pretended server.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: set[asyncio.Future[None]] = set()

    def append(self, entries: Sequence[tuple[LogKey, EntryId, Entry]]) -> list[Outcome]:
        """See :meth:`stenoflow.bus.logs.Logs.append`."""
        self._state.look()
        outcomes = [self._append(key, entry_id, entry) for key, entry_id, entry in entries]
        self._wake()
        return outcomes

    def append_finals(self, items: Sequence[tuple[LogKey, EntryId, Sequence[tuple[EntryId, Entry]]]]) -> list[Outcome]:
        """See :meth:`stenoflow.bus.logs.Logs.append_finals`."""
        self._state.look()
        outcomes: list[Outcome] = []
        for key, known, entries in items:
            log = self._state.logs.get(key)
            if log is None:
                outcomes.append(Gone())
            elif log[-1][0] != known:
                outcomes.append(Refused(f"the tail is {log[-1][0]}, not {known}"))
            elif self._is_full(key):
                outcomes.append(Full("set to be full"))
            else:
                ids = [known, *(entry_id for entry_id, _ in entries)]
                assert ids == sorted(set(ids)), f"ids for {key} do not ascend: {ids}"
                log.extend(_stored(entry_id, entry) for entry_id, entry in entries)
                outcomes.append(Appended(ids[-1]))
        self._wake()
        return outcomes

    def publish(self, entries: Sequence[tuple[LogKey, Entry]]) -> list[Outcome]:
        """See :meth:`stenoflow.bus.logs.Logs.publish`."""
        self._state.look()
        outcomes: list[Outcome] = []
        for key, entry in entries:
            log = self._state.logs.get(key)
            if log is None:
                outcomes.append(Gone())
                continue
            last = log[-1][0]
            now_ms = self._state.clock.wall_ms()
            entry_id = EntryId(now_ms, 0) if now_ms > last.end else EntryId(last.end, last.n + 1)
            outcomes.append(self._append(key, entry_id, entry))
            del log[:-LIVE_KEPT]
        self._wake()
        return outcomes

    def read(self, after: Mapping[LogKey, EntryId], count: int = 64) -> dict[LogKey, list[tuple[EntryId, Entry]]]:
        """See :meth:`stenoflow.bus.logs.Logs.read`; does not wait."""
        self._state.look()
        news = {}
        for key, last in after.items():
            log = self._state.logs.get(key)
            if log and log[-1][0] > last:
                begin = bisect_right(log, last, key=_id)
                news[key] = [_loaded(stored) for stored in log[begin : begin + count]]
        return news

    def tail(self, key: LogKey) -> Tail | None:
        """See :meth:`stenoflow.bus.logs.Logs.tail`."""
        self._state.look()
        log = self._state.logs.get(key)
        if log is None:
            return None
        newest = _loaded(log[-1])
        return tail_of([_loaded(stored) for stored in log[bisect_left(log, EntryId(newest[1].end, 0), key=_id) :]])

    def entries(self, key: LogKey, begin: int = 0, end: int | None = None) -> list[tuple[EntryId, Entry]]:
        """See :meth:`stenoflow.bus.logs.Logs.entries`."""
        self._state.look()
        log = self._state.logs.get(key, [])
        loaded = [_loaded(stored) for stored in log[bisect_left(log, EntryId(begin + 1, 0), key=_id) :]]
        return [(entry_id, entry) for entry_id, entry in loaded if end is None or entry.end <= end]

    def trim(self, restarts: Mapping[LogKey, int]) -> None:
        """See :meth:`stenoflow.bus.logs.Logs.trim`."""
        self._state.look()
        for key, restart in restarts.items():
            log = self._state.logs.get(key)
            if log and log[-1][0].end >= restart:
                del log[: bisect_left(log, EntryId(restart, 0), key=_id)]

    async def wait(self, timeout_s: float) -> None:
        """Returns after the next write to any log, or after the timeout."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        try:
            async with asyncio.timeout(timeout_s):
                await news
        except TimeoutError:
            return
        finally:
            self._waiting.discard(news)

    def _append(self, key: LogKey, entry_id: EntryId, entry: Entry) -> Outcome:
        log = self._state.logs.get(key)
        if self._is_full(key):
            return Full("set to be full")
        if log is None:
            return Gone()
        if entry_id <= log[-1][0]:
            return Refused(f"{entry_id} is equal or smaller than {log[-1][0]}")
        log.append(_stored(entry_id, entry))
        return Appended(entry_id)

    def _is_full(self, key: LogKey) -> bool:
        return self._state.faults.full or key in self._state.faults.full_logs

    def _wake(self) -> None:
        for news in self._waiting:
            if not news.done():
                news.set_result(None)


class MemoryLogs:
    """The port :class:`stenoflow.bus.logs.Logs` over a :class:`LogStore`.

    Args:
        state: of the pretended server.
        store: the logs.
    """

    def __init__(self, state: State, store: LogStore) -> None:
        self._state = state
        self.store = store

    async def append(self, entries: Sequence[tuple[LogKey, EntryId, Entry]]) -> Sequence[Outcome]:
        """See the port."""
        return self.store.append(entries)

    async def append_finals(
        self, entries: Sequence[tuple[LogKey, EntryId, Sequence[tuple[EntryId, Entry]]]]
    ) -> Sequence[Outcome]:
        """See the port."""
        return self.store.append_finals(entries)

    async def publish(self, entries: Sequence[tuple[LogKey, Entry]]) -> Sequence[Outcome]:
        """See the port."""
        return self.store.publish(entries)

    async def read(
        self, after: Mapping[LogKey, EntryId], *, block_ms: int | None, count: int = 64
    ) -> Mapping[LogKey, Sequence[tuple[EntryId, Entry]]]:
        """See the port; it waits on the event loop's time, which a simulation may own."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (block_ms or 0) / 1000
        while True:
            news = self.store.read(after, count)
            left = deadline - loop.time()
            if news or left <= 0:
                return news
            await self.store.wait(left)

    async def tail(self, key: LogKey) -> Tail | None:
        """See the port."""
        return self.store.tail(key)

    async def entries(self, key: LogKey, begin: int = 0, end: int | None = None) -> Sequence[tuple[EntryId, Entry]]:
        """See the port."""
        return self.store.entries(key, begin, end)

    async def trim(self, restarts: Mapping[LogKey, int]) -> None:
        """See the port."""
        self.store.trim(restarts)

    def generation(self) -> str:
        """See the port."""
        return f"memory-{self._state.restarts}"


def _id(stored: StoredEntry) -> EntryId:
    return stored[0]


def _stored(entry_id: EntryId, entry: Entry) -> StoredEntry:
    return entry_id, encode_header(entry), entry.data


def _loaded(stored: StoredEntry) -> tuple[EntryId, Entry]:
    entry_id, header, data = stored
    return entry_id, decode_entry(header, data)
