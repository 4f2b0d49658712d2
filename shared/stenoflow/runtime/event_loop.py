"""How late this process's event loop wakes: what holds it up holds up leases, acknowledgements and captions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.25


async def watch(observe: Callable[[float], None]) -> None:
    """Tells ``observe`` four times a second how many seconds late the loop woke, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        observe(max(0.0, loop.time() - due))
