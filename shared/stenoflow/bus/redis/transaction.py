"""MULTI … EXEC on a link that may hold a WATCH."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from stenoflow.bus.redis.connection import Link, pack
from stenoflow.bus.redis.errors import Reply, checked, is_busy_group


async def transact(link: Link, commands: Sequence[bytes]) -> list[Reply] | None:
    """Runs commands in one transaction; None where a watched key had changed.

    Raises:
        BusUnavailable: also where Redis is full, and so did none of it.
    """
    queued = await link.ask([pack(b"MULTI"), *commands, pack(b"EXEC")], len(commands) + 2)
    for reply in queued[:-1]:  # a command that is refused here makes EXEC fail, with a reason that says less
        checked(reply)
    results = cast(list[Reply] | None, checked(queued[-1]))
    if results is not None:
        for result in results:
            if not is_busy_group(result):
                checked(result)
    return results
