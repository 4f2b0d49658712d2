"""The shard map simulated: how even it is, and what happens when a shard is added while calls run.

A session's shard is drawn when it begins (:func:`stenoflow.base.ids.shard_for`) and stands in its name, so nothing ever
moves: a new shard fills with new calls only, as fast as old ones end.
"""

from __future__ import annotations

import binascii
import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stenoflow.base.ids import shard_for
from stenoflow.bus.redis.keys import shards_of

CALL_S = 240.0
"""Mean length of a call; lengths are exponential, as those of telephone calls nearly are."""
SLOTS = 16_384
STEP_S = 30.0
SEED = 1


@dataclass(frozen=True, slots=True)
class Moment:
    """Open calls of each shard.

    Args:
        at: seconds since a shard was added.
        calls: by shard; the added one is the last.
    """

    at: float
    calls: tuple[int, ...]

    @property
    def fullest(self) -> float:
        """The fullest shard's calls over the mean."""
        return max(self.calls) * len(self.calls) / max(1, sum(self.calls))

    @property
    def newest(self) -> float:
        """The newest shard's calls over the mean."""
        return self.calls[-1] * len(self.calls) / max(1, sum(self.calls))


def simulate(calls: int, shards: int, seconds: float, *, add_at_s: float | None = None) -> Iterator[Moment]:
    """Calls that come by chance and go, so that about so many are open; a moment every half minute.

    Args:
        calls: open at a time, on the average, from the begin on.
        shards: at the begin.
        seconds: how long.
        add_at_s: when one more is added; None for never.
    """
    chance = random.Random(SEED)
    ends: list[tuple[float, int]] = []
    held = [0] * (shards + (add_at_s is not None))

    def begin(now: float) -> None:
        known = shards + (add_at_s is not None and now >= add_at_s)
        shard = shard_for(f"{chance.getrandbits(32):08x}", known)
        held[shard] += 1
        heapq.heappush(ends, (now + chance.expovariate(1 / CALL_S), shard))

    for _ in range(calls):
        begin(0.0)  # what is left of an exponential length is exponential again
    arrival, now, tell = chance.expovariate(calls / CALL_S), 0.0, 0.0
    while now <= seconds:
        now = min(arrival, ends[0][0])
        while tell <= min(now, seconds):
            known = shards + (add_at_s is not None and tell >= add_at_s)
            yield Moment(tell - (add_at_s or 0.0), tuple(held[:known]))
            tell += STEP_S
        if arrival <= ends[0][0]:
            begin(now)
            arrival = now + chance.expovariate(calls / CALL_S)
        else:
            held[heapq.heappop(ends)[1]] -= 1


def balance(calls: int, shards: int) -> float:
    """The fullest shard over the mean, at the worst moment of half an hour."""
    return max(moment.fullest for moment in simulate(calls, shards, 1800))


def filling(calls: int, shards: int) -> dict[int, float]:
    """Minutes since a shard was added → its calls over the mean."""
    wanted = (0, 2, 4, 8, 15)
    found = {moment.at: moment.newest for moment in simulate(calls, shards, 1800, add_at_s=600.0)}
    return {minutes: found[60.0 * minutes] for minutes in wanted}


def on_masters(shards: int, masters: int) -> Sequence[int]:
    """Shards of each master of a Redis Cluster whose slots are dealt out in equal ranges, as it deals them.

    The slot of a hash tag is its CRC-16 (XMODEM) modulo 16,384 (Redis Cluster specification, "Keys hash tags").
    """
    counts = [0] * masters
    for tag in shards_of(shards):
        slot = binascii.crc_hqx(tag.strip("{}").encode(), 0) % SLOTS
        counts[slot * masters // SLOTS] += 1
    return counts
