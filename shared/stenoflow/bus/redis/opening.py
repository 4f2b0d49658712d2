"""The transaction that opens a session's logs (DESIGN 2.7 and 4): the only place where keys come into being."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from stenoflow.base.ids import Epoch, shard_of
from stenoflow.bus.entry import Entry, encode_header
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.opening import opening_id
from stenoflow.bus.records import TTL_S, SessionRecord, Stages, claims_bundle
from stenoflow.bus.redis.claims import FIELD
from stenoflow.bus.redis.connection import Link, pack
from stenoflow.bus.redis.errors import Reply
from stenoflow.bus.redis.keys import GROUP, claims_key, log_key, progress_key, record_key, sessions_key


@dataclass(frozen=True, slots=True)
class OldEpoch:
    """What an epoch that is superseded leaves behind.

    Args:
        keys: logs but ``finals``, and progress.
        claims: ids by claims stream.
    """

    keys: Sequence[str]
    claims: Mapping[str, Sequence[bytes]]


async def find_old_epoch(link: Link, record: SessionRecord) -> OldEpoch:
    """Looks for what the record's epoch left. Its claims are found by reading all of them: epochs change rarely."""
    tracks = record.track_keys()
    keys = [log_key(LogKey(track, name)) for track in tracks for name in LogName if name is not LogName.FINALS]
    keys += [progress_key(track) for track in tracks]
    names = {str(track).encode() for track in tracks}
    claims: dict[str, list[bytes]] = {}
    for stage in record.stages:
        stream = claims_key(shard_of(record.id), stage, claims_bundle(stage, record))
        entries = cast(list[tuple[bytes, list[bytes]]], await link.ask_one(b"XRANGE", stream, b"-", b"+"))
        ids = [claim_id for claim_id, fields in entries if fields[1] in names]
        if ids:
            claims[stream] = ids
    return OldEpoch(keys, claims)


class Opening:
    """The commands of one opening, and what their replies say.

    Args:
        record: of the session, with its new epoch.
        openings: per log, the opening entry of every track.
        superseded: what goes in the same transaction.
    """

    def __init__(
        self,
        record: SessionRecord,
        openings: Mapping[LogName, Sequence[Entry]],
        superseded: OldEpoch | None,
    ) -> None:
        self._record = record
        self._openings = openings
        self._superseded = superseded
        self._length_at: dict[Stages, int] = {}

    def bundle(self, stage: Stages) -> str:
        """The suffix of a stage's claims stream."""
        return claims_bundle(stage, self._record)

    def commands(self, epochs: Sequence[Epoch], wall_ms: int) -> list[bytes]:
        """What goes between MULTI and EXEC."""
        record, shard = self._record, shard_of(self._record.id)
        key, sessions = record_key(record.id), sessions_key(shard)
        commands = self._deletions()
        fields = (b"record", msgspec.json.encode(record), b"epochs", msgspec.json.encode(list(epochs)))
        commands += [pack(b"HSET", key, *fields), pack(b"EXPIRE", key, TTL_S)]
        for name, entries in self._openings.items():
            for entry in entries:
                log = log_key(LogKey(entry.track, name))
                commands += [
                    # The one XADD without NOMKSTREAM: here, and only here, a log begins (sentence 7).
                    pack(b"XADD", log, str(opening_id(entry)), b"h", encode_header(entry), b"d", entry.data),
                    pack(b"EXPIRE", log, TTL_S),
                ]
        for stage in record.stages:
            claims = claims_key(shard, stage, self.bundle(stage))
            commands.append(pack(b"XGROUP", b"CREATE", claims, GROUP, b"0", b"MKSTREAM"))
            commands += [pack(b"XADD", claims, b"*", FIELD, str(track)) for track in record.track_keys()]
            commands.append(pack(b"EXPIRE", claims, TTL_S))
            self._length_at[stage] = len(commands)
            commands.append(pack(b"XLEN", claims))
        commands += [pack(b"ZADD", sessions, wall_ms, record.id), pack(b"EXPIRE", sessions, TTL_S)]
        return commands

    def counts(self, results: Sequence[Reply]) -> dict[Stages, int]:
        """Open claims of each stage in this shard, from the results of :meth:`commands`."""
        return {stage: cast(int, results[at]) for stage, at in self._length_at.items()}

    def _deletions(self) -> list[bytes]:
        if self._superseded is None:
            return []
        commands = [pack(b"UNLINK", *self._superseded.keys)]
        for stream, ids in self._superseded.claims.items():
            # Whoever holds one finds it missing at the next renewal.
            commands += [pack(b"XACK", stream, GROUP, *ids), pack(b"XDEL", stream, *ids)]
        return commands
