"""The names of all keys (DESIGN 3). All keys of a session share a hash tag, so they can share a transaction."""

from __future__ import annotations

from stenoflow.base.ids import Epoch, SessionId, TrackKey, shard_of
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.records import Stages

GROUP = "workers"
"""The consumer group of every claims stream; its pending list is the lease table."""

FREE = "free"
"""The consumer that tracks are handed over to: nobody's, so anybody may take them over at once."""


def record_key(session: SessionId) -> str:
    """The session's record."""
    return f"sf:{shard_of(session)}:{session}"


def log_key(key: LogKey) -> str:
    """A track's log."""
    return f"sf:{shard_of(key.track.session)}:{key.track}:{key.name.value}"


def progress_key(track: TrackKey) -> str:
    """How far the stages are on a track."""
    return f"sf:{shard_of(track.session)}:{track}:progress"


def finals_keys(session: SessionId, tracks: int, epochs: list[Epoch]) -> list[str]:
    """The finals of all epochs, which outlive their epoch."""
    return [
        log_key(LogKey(TrackKey(session, number, epoch), LogName.FINALS))
        for epoch in epochs
        for number in range(tracks)
    ]


def claims_key(shard: str, stage: Stages, bundle: str) -> str:
    """The claims of a stage in a shard (``{s00}``)."""
    return f"sf:{shard}:claims:{stage.value}" + (f":{bundle}" if bundle else "")


def sessions_key(shard: str) -> str:
    """A shard's open sessions by last sign of life."""
    return f"sf:{shard}:sessions"


def kept_key(shard: str) -> str:
    """A shard's ended sessions by the moment at which they expire."""
    return f"sf:{shard}:kept"


def workers_key(stage: Stages) -> str:
    """The workers of a stage by last announcement."""
    return f"sf:workers:{stage.value}"


def worker_key(stage: Stages, worker: str) -> str:
    """One worker's line."""
    return f"sf:workers:{stage.value}:{worker}"


def shards_of(count: int) -> list[str]:
    """The hash tags of all shards."""
    return ["{" + f"s{number:02d}" + "}" for number in range(count)]


def ticket_key(digest: str) -> str:
    """What a one-use ticket grants, by the ticket's hash."""
    return f"sf:tickets:{digest}"


def open_key(tenant: str) -> str:
    """A tenant's open sessions by last sign of life."""
    return f"sf:tenants:{{{tenant}}}:open"


def begun_key(tenant: str) -> str:
    """A tenant's sessions of the last minute by their beginning."""
    return f"sf:tenants:{{{tenant}}}:begun"
