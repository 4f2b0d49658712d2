"""Logs in Redis streams: conditional appends, reads of hundreds of logs at once, exact trims (DESIGN 2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from stenoflow.base.ids import shard_of
from stenoflow.bus.entry import Entry, EntryId, decode_entry, encode_header
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, Outcome, Refused, Tail, tail_of
from stenoflow.bus.redis.cluster import Cluster
from stenoflow.bus.redis.connection import Argument, Link, Links, Server, pack
from stenoflow.bus.redis.errors import Reply, checked, is_full, is_refused, translated
from stenoflow.bus.redis.keys import log_key

LIVE_KEPT = 8
"""Entries that a ``live`` log keeps (DESIGN 3)."""

KNOWN_KEYS = 32_768
"""Encoded key names that are kept; a worker meets a few thousand a minute at most."""

LOOK_AGAIN_S = 0.005
"""Between two looks at several masters: below the least gather time of a worker's loop."""

Value = TypeVar("Value")
FinalsItem = tuple[LogKey, EntryId, Sequence[tuple[EntryId, Entry]]]
RawEntry = tuple[bytes, list[bytes] | None]


class RedisLogs:
    """The port :class:`stenoflow.bus.logs.Logs`.

    Args:
        server: for its generation.
        readers: links that only read.
        writers: links for all else.
    """

    def __init__(self, server: Server | Cluster, readers: Links, writers: Links) -> None:
        self._server = server
        self._readers = readers
        self._writers = writers
        self._names: dict[LogKey, bytes] = {}
        self._constant: dict[str, tuple[tuple[LogKey, ...], dict[bytes, LogKey], bytes]] = {}
        self._seen: dict[LogKey, int] = {}
        self._seen_in = ""

    async def append(self, entries: Sequence[tuple[LogKey, EntryId, Entry]]) -> Sequence[Outcome]:
        """See the port."""
        # No MULTI: it is not conditional, and its second XADD would pass where the first was refused (sentence 2).
        replies = await self._writers.ask([self._xadd(key, entry_id, entry) for key, entry_id, entry in entries])
        return [_outcome(reply) for reply in replies]

    async def publish(self, entries: Sequence[tuple[LogKey, Entry]]) -> Sequence[Outcome]:
        """See the port."""
        replies = await self._writers.ask(
            [
                pack(b"XADD", self._name(key), b"NOMKSTREAM", b"MAXLEN", b"=", LIVE_KEPT, b"*", *_fields(entry))
                for key, entry in entries
            ]
        )
        return [_outcome(reply) for reply in replies]

    async def append_finals(self, entries: Sequence[FinalsItem]) -> Sequence[Outcome]:
        """See the port; one transaction a shard, and log by log where that one aborts."""
        for key, known, items in entries:
            ids = [known, *(entry_id for entry_id, _ in items)]
            assert ids == sorted(set(ids)), f"ids for {key} do not ascend: {ids}"
        shards: dict[str, list[int]] = {}
        for number, (key, _, _) in enumerate(entries):
            shards.setdefault(shard_of(key.track.session), []).append(number)
        outcomes: dict[int, Outcome] = {}
        for numbers in shards.values():
            async with self._writers.borrow(self._name(entries[numbers[0]][0])) as link:
                found = await self._finals_in_one(link, [entries[number] for number in numbers])
                if found is None:
                    # Somebody wrote to one of these logs meanwhile, and EXEC cannot say to which.
                    singly = [await self._finals_in_one(link, [entries[number]]) for number in numbers]
                    found = [one[0] if one else Refused("another writer was faster") for one in singly]
                outcomes.update(zip(numbers, found, strict=True))
        return [outcomes[number] for number in range(len(entries))]

    async def _finals_in_one(self, link: Link, items: Sequence[FinalsItem]) -> list[Outcome] | None:
        names = [self._name(key) for key, _, _ in items]
        looks = [pack(b"WATCH", *names), *(pack(b"XREVRANGE", name, b"+", b"-", b"COUNT", 1) for name in names)]
        watched, *tails = await link.ask(looks, len(looks))
        checked(watched)
        outcomes: list[Outcome | None] = []
        commands: list[bytes] = []
        for (key, known, new), reply in zip(items, tails, strict=True):
            tail = cast(list[RawEntry], checked(reply))
            if not tail:
                outcomes.append(Gone())
            elif EntryId.parse(tail[0][0]) != known:
                outcomes.append(Refused(f"the tail is {tail[0][0].decode()}, not {known}"))
            else:
                outcomes.append(None)
                commands.extend(self._xadd(key, entry_id, entry) for entry_id, entry in new)
        if not commands:
            await link.ask_one(b"UNWATCH")
            return [outcome or Appended(known) for outcome, (_, known, _) in zip(outcomes, items, strict=True)]
        replies = await link.ask([pack(b"MULTI"), *commands, pack(b"EXEC")], len(commands) + 2)
        full = next((reply for reply in replies if is_full(reply)), None)
        if full is not None:  # refused while queueing, or by EXEC: nothing of it was done
            return [outcome or Full(str(full)) for outcome in outcomes]
        results = checked(replies[-1])
        if results is None:
            return None
        for result in cast(list[Reply], results):
            checked(result)
        return [outcome or Appended(new[-1][0]) for outcome, (_, _, new) in zip(outcomes, items, strict=True)]

    async def read(
        self, after: Mapping[LogKey, EntryId], *, block_ms: int | None, count: int = 64
    ) -> Mapping[LogKey, Sequence[tuple[EntryId, Entry]]]:
        """See the port."""
        if not after:
            await asyncio.sleep((block_ms or 0) / 1000)
            return {}
        parts = self._parts(after)
        if len(parts) == 1:
            ((shard, part),) = parts.items()
            return await self._read_part(shard, part, block_ms, count)
        # A read that blocks on one master would hold up what has come to another: they are looked at in turn.
        deadline = time.monotonic() + (block_ms or 0) / 1000
        while True:
            reads = (self._read_part(shard, part, None, count) for shard, part in parts.items())
            news = {key: entries for found in await asyncio.gather(*reads) for key, entries in found.items()}
            left_s = deadline - time.monotonic()
            if news or left_s <= 0:
                return news
            await asyncio.sleep(min(left_s, LOOK_AGAIN_S))

    async def _read_part(
        self, shard: str, after: Mapping[LogKey, EntryId], block_ms: int | None, count: int
    ) -> Mapping[LogKey, Sequence[tuple[EntryId, Entry]]]:
        by_name, command = self._xread(shard, after, block_ms, count)
        async with self._readers.borrow(self._name(next(iter(after)))) as link:
            reply = checked((await link.ask((command,), 1, wait_s=(block_ms or 0) / 1000))[0])
        if reply is None:
            return {}
        news: dict[LogKey, Sequence[tuple[EntryId, Entry]]] = {}
        self._forget_after_failover()
        for name, raw in cast(list[tuple[bytes, list[RawEntry]]], reply):
            key = by_name[name]
            news[key] = _entries(key, raw)
            self._seen[key] = news[key][-1][0].end
        return news

    async def tail(self, key: LogKey) -> Tail | None:
        """See the port."""
        name = self._name(key)
        async with self._writers.borrow(name) as link:
            newest = _entries(key, await link.ask_one(b"XREVRANGE", name, b"+", b"-", b"COUNT", 1))
            if not newest:
                return None
            # More may have come in between, but what ends where this one ends, or later, is all there.
            return tail_of(_entries(key, await link.ask_one(b"XRANGE", name, f"{newest[0][1].end}-0", b"+")) or newest)

    async def entries(self, key: LogKey, begin: int = 0, end: int | None = None) -> Sequence[tuple[EntryId, Entry]]:
        """See the port."""
        name = self._name(key)
        ranges = [pack(b"XRANGE", name, f"{begin + 1}-0", b"+" if end is None else str(end))]
        if end is not None:
            # The entry that ends the track has the largest id, wherever it ends.
            ranges.append(pack(b"XREVRANGE", name, b"+", b"-", b"COUNT", 1))
        found: dict[EntryId, Entry] = {}
        for reply in await self._writers.ask(ranges):
            found.update(_entries(key, checked(reply)))
        return [
            (entry_id, entry)
            for entry_id, entry in sorted(found.items())
            if entry_id.end > begin and (end is None or entry.end <= end)
        ]

    async def trim(self, restarts: Mapping[LogKey, int]) -> None:
        """See the port."""
        for part in self._parts(restarts).values():
            await self._trim_part(part)

    async def _trim_part(self, restarts: Mapping[LogKey, int]) -> None:
        async with self._writers.borrow(self._name(next(iter(restarts)))) as link:
            self._forget_after_failover()
            # Most restart points lie behind what was read here; for the others the log itself is asked.
            unsure = [key for key, restart in restarts.items() if self._seen.get(key, -1) < restart]
            looks = [pack(b"XREVRANGE", self._name(key), b"+", b"-", b"COUNT", 1) for key in unsure]
            for key, reply in zip(unsure, await link.ask(looks, len(looks)) if looks else (), strict=True):
                for entry_id, _ in cast(list[RawEntry], checked(reply)):
                    self._seen[key] = EntryId.parse(entry_id).end
            trims = [
                pack(b"XTRIM", self._name(key), b"MINID", b"=", f"{restart}-0")
                for key, restart in restarts.items()
                if self._seen.get(key, -1) >= restart
            ]
            for reply in await link.ask(trims, len(trims)) if trims else ():
                checked(reply)

    def generation(self) -> str:
        """See the port."""
        return self._server.generation

    # ------------------------------------------------------------------ encoding

    def _parts(self, keys: Mapping[LogKey, Value]) -> Mapping[str, Mapping[LogKey, Value]]:
        """What may be in one command or over one link: all of it, or in a cluster shard by shard."""
        if not self._readers.one_slot:
            return {"": keys} if keys else {}
        parts: dict[str, dict[LogKey, Value]] = {}
        for key, value in keys.items():
            parts.setdefault(shard_of(key.track.session), {})[key] = value
        return parts

    def _name(self, key: LogKey) -> bytes:
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= KNOWN_KEYS:
                self._names.clear()
                self._seen.clear()
            name = self._names[key] = log_key(key).encode()
        return name

    def _xadd(self, key: LogKey, entry_id: EntryId, entry: Entry) -> bytes:
        return pack(b"XADD", self._name(key), b"NOMKSTREAM", f"{entry_id.end}-{entry_id.n}", *_fields(entry))

    def _xread(
        self, shard: str, after: Mapping[LogKey, EntryId], block_ms: int | None, count: int
    ) -> tuple[dict[bytes, LogKey], bytes]:
        """The logs by the names that the reply has for them, and the command; most of both is that of the last read."""
        keys = tuple(after)
        known, by_name, constant = self._constant.get(shard, ((), {}, b""))
        if known != keys:
            by_name = {self._name(key): key for key in keys}
            constant = b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in by_name)
            self._constant[shard] = (keys, by_name, constant)
        options: list[Argument] = [b"XREAD", b"COUNT", count]
        if block_ms is not None:
            options += [b"BLOCK", max(1, block_ms)]  # 0 would block for ever
        options.append(b"STREAMS")
        ids = [f"{end}-{n}" for end, n in after.values()]
        encoded_ids = "".join([f"${len(text)}\r\n{text}\r\n" for text in ids]).encode()
        head = pack(*options).partition(b"\r\n")[2]
        return by_name, b"*%d\r\n%b%b%b" % (len(options) + 2 * len(keys), head, constant, encoded_ids)

    def _forget_after_failover(self) -> None:
        if self._seen_in != self._server.generation:
            self._seen.clear()
            self._seen_in = self._server.generation


def _fields(entry: Entry) -> tuple[bytes, bytes, bytes, bytes]:
    return (b"h", encode_header(entry), b"d", entry.data)


def _outcome(reply: Reply) -> Outcome:
    if isinstance(reply, bytes):
        return Appended(EntryId.parse(reply))
    if reply is None:
        return Gone()
    if is_refused(reply):
        return Refused(str(reply))
    if is_full(reply):
        return Full(str(reply))
    assert isinstance(reply, BaseException), f"XADD answered {reply!r}"
    raise translated(reply)


def _entries(key: LogKey, reply: object) -> list[tuple[EntryId, Entry]]:
    entries: list[tuple[EntryId, Entry]] = []
    for raw_id, fields in cast(list[RawEntry], reply):
        assert fields is not None, f"an entry of {key} without fields"
        entry = decode_entry(fields[1], fields[3])
        assert entry.track == key.track, f"an entry of {entry.track} stands in a log of {key.track}"
        end, _, n = raw_id.partition(b"-")
        entries.append((EntryId(int(end), int(n)), entry))
    return entries
