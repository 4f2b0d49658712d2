"""Session records as a ``start`` asks for them, and the ends of logs that were just opened. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from stenoflow.base.ids import Epoch, SessionId
from stenoflow.base.positions import ClientPosition, Position, to_client, to_position
from stenoflow.bus.entry import END_ID, Entry, Kind, Mark, MarkKind
from stenoflow.bus.logs import LogName, Tail
from stenoflow.bus.opening import opening_entries, opening_id
from stenoflow.bus.records import LONGEST_RETENTION_S, SessionRecord, SessionState, TrackInfo
from stenoflow.protocol.messages import Start
from stenoflow_gateway.session.audio_writer import GATEWAY


def new_record(session: SessionId, token_hash: str, start: Start, wall_ms: int, tenant: str = "") -> SessionRecord:
    """The record of a session that begins; epoch and bundle are filled in by who opens it.

    Its connection number is the time, so that it is newer than any that an empty Redis has forgotten: the older
    socket of a client that came back must not win because its number is larger.
    """
    return SessionRecord(
        id=session,
        epoch=Epoch(""),
        connection=wall_ms,
        state=SessionState.OPEN,
        token_hash=token_hash,
        kind=start.kind,
        bundle=start.bundle or "",
        tracks=tuple(TrackInfo(track.name, track.encoding, track.sample_rate) for track in start.tracks),
        settings=settings_of(start),
        tenant=tenant,
        began_ms=wall_ms,
        retention_s=start.retention_s or LONGEST_RETENTION_S,
        metadata=start.metadata,
    )


def settings_of(start: Start) -> dict[str, Any]:
    """The settings that a session's stages go by."""
    names = {"endpointing", "partials", "chunk_ms", "second_pass", "boost", "spot", "lm_weight", "alternatives"}
    return start.model_dump(mode="json", include=names)


def at_bases(record: SessionRecord, start: Start, bases: Mapping[int, int], connection: int) -> SessionRecord:
    """The record of a new epoch that begins at these 16 kHz positions (track number → base).

    Its settings are those of ``start``: the marks that changed them before the bases are gone with the logs.
    """
    return msgspec.structs.replace(
        record,
        settings=settings_of(start),
        connection=connection,
        state=SessionState.OPEN,
        error=None,
        tracks=tuple(
            msgspec.structs.replace(track, base=bases.get(number, 0)) for number, track in enumerate(record.tracks)
        ),
    )


def seen_by_client(start: Start) -> dict[int, int]:
    """Per track what a client that resumes has as finals, 16 kHz samples."""
    assert start.resume is not None
    return {
        track.track: to_position(ClientPosition(track.committed), start.tracks[track.track].sample_rate)
        for track in start.resume.tracks
        if track.track < len(start.tracks)
    }


def opening_tail(record: SessionRecord, number: int) -> Tail:
    """The end of an audio log that was just opened."""
    entry = opening_entries(record)[LogName.AUDIO][number]
    return Tail(opening_id(entry), entry, (), 0)


def ended_tail(record: SessionRecord, number: int, finals: Tail) -> Tail:
    """The end of an audio log that went when its session had ended."""
    end = to_client(Position(finals.entry.end), record.tracks[number].sample_rate)
    mark = Mark(MarkKind.END, end, GATEWAY, 0)
    entry = Entry(record.track_keys()[number], Kind.AUDIO, end, end, hop=1, frame_bytes=2, marks=(mark,))
    return Tail(END_ID, entry, (mark,), 1)


def holds(record: SessionRecord, number: int, audio: Tail, finals: Tail, seen: Mapping[int, int]) -> bool:
    """Whether the logs hold what the client lacks: it must not lie before the epoch, nor beyond the logs' ends."""
    info = record.tracks[number]
    committed = seen.get(number, 0)
    received = to_position(ClientPosition(audio.entry.end), info.sample_rate)
    return info.base <= committed <= min(received, finals.entry.end)
