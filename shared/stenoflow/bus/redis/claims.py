"""Claims in Redis: the pending list of a consumer group is the lease table (DESIGN 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from stenoflow.base.ids import TrackKey, shard_of
from stenoflow.bus.claims import Claim
from stenoflow.bus.records import Stages
from stenoflow.bus.redis.connection import Links, pack
from stenoflow.bus.redis.errors import Reply, checked, is_no_group
from stenoflow.bus.redis.keys import FREE, GROUP, claims_key

FIELD = b"t"
"""The one field of a claim's entry: its track."""

HANDED_OVER_MS = 3_600_000
"""Idle time of a claim that was handed over: past every lease."""

SCANS = 32
"""Round trips of one take-over: XAUTOCLAIM looks at ten entries a place only, and goes on from its cursor."""

RawClaims = list[tuple[bytes, list[bytes] | None]]


class RedisClaims:
    """The port :class:`stenoflow.bus.claims.Claims` for one consumer, over all shards.

    Args:
        pool: links that no reader uses.
        shards: hash tags.
        stage: whose claims.
        consumer: the worker's name; two workers never share one.
        bundle: the claims stream's suffix, or empty.
        lease_s: seconds without renewal after which others may take over.
    """

    def __init__(
        self, pool: Links, shards: Sequence[str], stage: Stages, consumer: str, bundle: str, lease_s: float
    ) -> None:
        assert consumer != FREE, f"no worker can be called {FREE}"
        self._pool = pool
        self._keys = {shard: claims_key(shard, stage, bundle) for shard in shards}
        self._consumer = consumer
        self._lease_ms = round(lease_s * 1000)
        self._cursors = dict.fromkeys(shards, b"0-0")
        self._turn = 0

    async def take(self, places: int) -> Sequence[Claim]:
        """See the port; each call begins at another shard, so that none starves."""
        assert places >= 1, "COUNT 0 would mean all of them"
        taken: list[Claim] = []
        for shard in self._in_turn():
            reply = await self._ask_group(
                b"XREADGROUP", b"GROUP", GROUP, self._consumer, b"COUNT", places - len(taken), b"STREAMS",
                self._keys[shard], b">",
            )  # fmt: skip
            taken.extend(_claims(_of_first_stream(reply)))
            if len(taken) == places:
                break
        return taken

    async def renew(self) -> Sequence[Claim]:
        """See the port. Redis gives back only what is still ours, and its idle time begins anew."""
        commands = [
            pack(b"XREADGROUP", b"GROUP", GROUP, self._consumer, b"STREAMS", key, b"0") for key in self._keys.values()
        ]
        replies = [_unless_no_group(reply) for reply in await self._pool.ask(commands)]
        held: list[Claim] = []
        for key, reply in zip(self._keys.values(), replies, strict=True):
            raw = _of_first_stream(reply)
            held.extend(_claims(raw))
            await self._forget(key, [claim_id for claim_id, fields in raw if not fields])
        return held

    async def take_over(self, places: int) -> Sequence[Claim]:
        """See the port."""
        assert places >= 1, "COUNT 0 would mean all of them"
        taken: list[Claim] = []
        for shard in self._in_turn():
            for _ in range(SCANS):
                if len(taken) == places:
                    return taken
                reply = await self._ask_group(
                    b"XAUTOCLAIM", self._keys[shard], GROUP, self._consumer, self._lease_ms, self._cursors[shard],
                    b"COUNT", places - len(taken),
                )  # fmt: skip
                if reply is None:
                    self._cursors[shard] = b"0-0"
                    break
                # 7.0 names the deleted ones in a third field and has forgotten them; 6.2 claims them and says nil.
                self._cursors[shard], raw = cast(tuple[bytes, RawClaims], tuple(cast(list[Reply], reply)[:2]))
                present = [item for item in raw if item is not None and item[1]]
                taken.extend(_claims(present))
                if len(present) < len(raw):
                    await self.renew()  # which finds by their ids those that came without, and forgets them
                if self._cursors[shard] == b"0-0":
                    break
        return taken

    async def done(self, claims: Sequence[Claim]) -> None:
        """See the port.

        No MULTI, though it is two commands: a full Redis 6.2 takes nothing into a transaction, not even deletions.
        In this order what is cut short leaves a pending id without an entry, which the next take-over forgets.
        """
        for key, ids in self._by_key(claims).items():
            for reply in await self._pool.ask([pack(b"XDEL", key, *ids), pack(b"XACK", key, GROUP, *ids)]):
                checked(reply)

    async def hand_over(self, claims: Sequence[Claim]) -> None:
        """See the port. XCLAIM would take from anybody: what is no longer ours is left out, and first renewed."""
        own = {claim.id for claim in await self.renew()}
        for key, ids in self._by_key([claim for claim in claims if claim.id in own]).items():
            await self._ask_group(b"XCLAIM", key, GROUP, FREE, 0, *ids, b"IDLE", HANDED_OVER_MS, b"JUSTID")

    async def open_tracks(self) -> int:
        """See the port."""
        replies = await self._pool.ask([pack(b"XLEN", key) for key in self._keys.values()])
        return sum(cast(int, checked(reply)) for reply in replies)

    def _in_turn(self) -> list[str]:
        self._turn += 1
        shards = list(self._keys)
        first = self._turn % len(shards)
        return shards[first:] + shards[:first]

    def _by_key(self, claims: Sequence[Claim]) -> dict[str, list[str]]:
        by_key: dict[str, list[str]] = {}
        for claim in claims:
            by_key.setdefault(self._keys[shard_of(claim.track.session)], []).append(claim.id)
        return by_key

    async def _ask_group(self, *arguments: bytes | str | int) -> Reply:
        return _unless_no_group((await self._pool.ask([pack(*arguments)]))[0])

    async def _forget(self, key: str, deleted: Sequence[bytes]) -> None:
        """Takes claims off the pending list that were deleted under it (another epoch was opened)."""
        if deleted:
            checked((await self._pool.ask([pack(b"XACK", key, GROUP, *deleted)]))[0])


def _unless_no_group(reply: Reply) -> Reply:
    """The reply, or None where stream or group are gone (an empty restart): nothing is held there."""
    return None if is_no_group(reply) else checked(reply)


def _of_first_stream(reply: Reply) -> RawClaims:
    return cast(list[tuple[bytes, RawClaims]], reply)[0][1] if reply else []


def _claims(raw: RawClaims) -> list[Claim]:
    return [Claim(claim_id.decode(), TrackKey.parse(fields[1].decode())) for claim_id, fields in raw if fields]
