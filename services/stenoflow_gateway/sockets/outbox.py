"""What waits to be sent on one socket: bounded, newest first for what a newer one supersedes, finals never dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

MAX_CHARACTERS = 4 * 1024 * 1024
"""Of finals and other messages that nothing supersedes: hours of talk. A socket that lets so much wait is closed."""

STUCK_S = 10.0
"""A socket that takes nothing for so long is closed; the client resumes once it reads again (PAINS 13)."""


class Outbox:
    """A queue in which a message may supersede an earlier one of the same key."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, str] = OrderedDict()
        self._count = 0
        self._characters = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def overflows(self) -> bool:
        """Whether more waits than may."""
        return self._characters > MAX_CHARACTERS

    def put(self, text: str, key: Hashable = None) -> None:
        """Queues a message; an earlier one of the same key goes.

        The newer one stands at the end, not in the earlier one's place: an ``ack`` must not overtake the finals that
        it counts as committed.
        """
        if key is None:
            self._count += 1
            key = self._count
        else:
            self._characters -= len(self._waiting.pop(key, ""))
        self._waiting[key] = text
        self._characters += len(text)

    def take(self) -> str | None:
        """The oldest message, None where there is none."""
        if not self._waiting:
            return None
        _, text = self._waiting.popitem(last=False)
        self._characters -= len(text)
        return text
