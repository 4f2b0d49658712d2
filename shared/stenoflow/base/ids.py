"""Identifiers: sessions, epochs, shards, and the key of one track's logs."""

from __future__ import annotations

import re
import secrets
import zlib
from dataclasses import dataclass
from typing import NewType

SessionId = NewType("SessionId", str)
"""``s<shard, two digits>-<random>``: the shard is visible, so any process finds the keys."""

Epoch = NewType("Epoch", str)
"""Names one opening of a session's logs; never used twice (DESIGN 2, sentence 7)."""

_SESSION = re.compile(r"s([0-9]{2})-[0-9a-f]{16}")

MAX_TRACKS = 8
"""Voice channels of one session, at most."""


def new_session_id(shard: int) -> SessionId:
    """A fresh session id in the given shard."""
    return SessionId(f"s{shard:02d}-{secrets.token_hex(8)}")


def new_epoch(wall_ms: int) -> Epoch:
    """A fresh epoch: milliseconds and random bits, so that no two openings ever share one."""
    return Epoch(f"{wall_ms:x}{secrets.token_hex(3)}")


def is_served(session: str, shards: int) -> bool:
    """Whether a text can be the id of a session in one of so many shards: it becomes a part of keys."""
    found = _SESSION.fullmatch(session)
    return found is not None and int(found[1]) < shards


def shard_of(session: SessionId) -> str:
    """The hash tag of a session's keys, ``{s00}``."""
    return "{" + session[:3] + "}"


def shard_for(random_key: str, shards: int) -> int:
    """Spreads new sessions over shards by a hash of some random key."""
    return zlib.crc32(random_key.encode()) % shards


@dataclass(frozen=True, slots=True, order=True)
class TrackKey:
    """One track of one session in one epoch: what a log belongs to and what an entry's header names."""

    session: SessionId
    number: int
    epoch: Epoch

    def __str__(self) -> str:
        return f"{self.session}:{self.number}:{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> TrackKey:
        """Inverse of ``str``."""
        session, number, epoch = text.split(":")
        return cls(SessionId(session), int(number), Epoch(epoch))
