"""Sessions over HTTP: which there are, what was said in one, and its end. Open ones, and ended ones that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import SessionId, is_served
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.bus.records import SessionRecord, SessionState, Stages
from stenoflow.protocol.transcript import as_json, as_srt, as_text, as_vtt
from stenoflow_gateway.access.grants import PUBLISH, WATCH, Grant
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.sockets.said import finals_of

# What the routes' descriptions say of their answers; nothing else reads it.
SESSION = {
    "session": "s00-0123456789abcdef",
    "state": "open",
    "kind": "live",
    "bundle": "en-small",
    "second_pass": "moonshine-tiny-en",
    "began_ms": 1767225600000,
    "retention_s": 600,
    "tracks": [{"track": 0, "name": "agent", "encoding": "mulaw", "sample_rate": 8000}],
    "metadata": {"queue": "billing"},
}
RECORDS_AT_ONCE = 200
UNKNOWN: dict[str, Any] = {"description": "There is no such session (any more)."}
NO_REDIS: dict[str, Any] = {
    "description": "Redis cannot be used now; try again.",
    "content": {
        "application/json": {
            "example": {"code": "bus_unavailable", "message": "Redis cannot be used now", "retryable": True}
        }
    },
}


class Format(StrEnum):
    """How a transcript is written."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


MEDIA = {
    Format.TEXT: "text/plain",
    Format.JSON: "application/json",
    Format.SRT: "application/x-subrip",
    Format.VTT: "text/vtt",
}


async def visible(gateway: Gateway, session: str, grant: Grant) -> SessionRecord:
    """The record of a session that this caller may see.

    Raises:
        ClientError: ``unknown_session``, whether there is none or it is somebody else's.
        BusUnavailable: Redis does not answer.
    """
    record = await gateway.records.get(SessionId(session)) if is_served(session, gateway.shards) else None
    if record is None or not _may_see(record, grant):
        raise ClientError("unknown_session", "there is no such session (any more)")
    return record


def _may_see(record: SessionRecord, grant: Grant) -> bool:
    return not record.deleted and grant.covers(record.id, record.tenant)


def _described(record: SessionRecord) -> dict[str, Any]:
    return {
        "session": record.id,
        "state": record.state.value,
        "kind": record.kind,
        "bundle": record.bundle,
        "second_pass": record.second_pass,
        "began_ms": record.began_ms,
        "retention_s": record.retention_s,
        "tracks": [
            {"track": number, "name": track.name, "encoding": track.encoding, "sample_rate": track.sample_rate}
            for number, track in enumerate(record.tracks)
        ],
        "metadata": record.metadata,
    }


async def _how_far(gateway: Gateway, records: Sequence[SessionRecord]) -> Mapping[SessionId, dict[str, Any]]:
    """Of the open ones among these: seconds that came and seconds that are decoded, of each track."""
    alive = [record for record in records if record.state is SessionState.OPEN]
    progress = iter(await gateway.records.progress([key for record in alive for key in record.track_keys()]))
    far: dict[SessionId, dict[str, Any]] = {}
    for record in alive:
        keys = record.track_keys()
        tails = await asyncio.gather(*(gateway.logs.tail(LogKey(key, LogName.AUDIO)) for key in keys))
        received = [
            0.0 if tail is None else tail.entry.end / track.sample_rate
            for tail, track in zip(tails, record.tracks, strict=True)
        ]
        stages = [next(progress).get(Stages.DECODER) for _ in keys]
        decoded = [0.0 if each is None else each.position / SAMPLE_RATE for each in stages]
        far[record.id] = {
            "received_s": [round(seconds, 3) for seconds in received],
            "decoded_s": [round(seconds, 3) for seconds in decoded],
        }
    return far


def make_routes(gateway: Gateway) -> APIRouter:
    """The routes under ``/v1/sessions``."""
    routes = APIRouter()

    @routes.get(
        "/v1/sessions",
        summary="Sessions",
        responses={200: {"content": {"application/json": {"example": {"sessions": [SESSION]}}}}, 503: NO_REDIS},
    )
    async def sessions(
        request: Request,
        state: Annotated[Literal["open", "ended", "broken"] | None, Query(description="only these")] = None,
        limit: Annotated[int, Query(ge=1, le=1000, description="at most so many")] = 100,
        progress: Annotated[bool, Query(description="how far each track of open ones is, too")] = False,
    ) -> Response:
        """Sessions that are open, and ended ones that are kept; the newest first."""
        grant = request.app.state.access(request, WATCH)
        newest: list[SessionRecord] = []
        ids = await gateway.records.sessions()
        # Some at a time: a record may hold a thousand phrases, and there may be many thousands of records.
        for at in range(0, len(ids), RECORDS_AT_ONCE):
            records = await gateway.records.get_many(ids[at : at + RECORDS_AT_ONCE])
            newest += [
                record
                for record in records
                if record is not None and _may_see(record, grant) and state in (None, record.state.value)
            ]
            newest.sort(key=lambda record: (record.began_ms, record.id), reverse=True)
            del newest[limit:]
        far = await _how_far(gateway, newest) if progress else {}
        return JSONResponse({"sessions": [_described(record) | far.get(record.id, {}) for record in newest]})

    @routes.get(
        "/v1/sessions/{session}",
        summary="One session",
        responses={
            200: {"content": {"application/json": {"example": {**SESSION, "received_s": [13.1], "decoded_s": [12.8]}}}},
            404: UNKNOWN,
            503: NO_REDIS,
        },
    )
    async def one(request: Request, session: str) -> Response:
        """A session, and while it is open how many seconds of each track came and are decoded."""
        record = await visible(gateway, session, request.app.state.access(request, WATCH))
        far = await _how_far(gateway, [record])
        return JSONResponse(_described(record) | far.get(record.id, {}))

    @routes.get(
        "/v1/sessions/{session}/transcript",
        summary="What was said",
        responses={
            200: {"content": {media: {} for media in MEDIA.values()}},
            404: UNKNOWN,
            503: NO_REDIS,
        },
    )
    async def transcript(request: Request, session: str, format: Format = Format.TEXT) -> Response:  # noqa: A002
        """All that is final, while the session runs and as long as it is kept."""
        record = await visible(gateway, session, request.app.state.access(request, WATCH))
        finals = await finals_of(gateway.logs, gateway.records, record)
        names = [track.name for track in record.tracks]
        match format:
            case Format.TEXT:
                text = as_text(names, finals)
            case Format.JSON:
                text = as_json(names, finals, max((final.end for final in finals), default=0) / SAMPLE_RATE)
            case Format.SRT:
                text = as_srt(names, finals)
            case Format.VTT:
                text = as_vtt(names, finals)
        return Response(text, media_type=MEDIA[format])

    @routes.delete(
        "/v1/sessions/{session}",
        summary="End and forget",
        status_code=204,
        responses={
            202: {"description": "It still runs: it ends now, and what was kept of it goes as it ends."},
            204: {"description": "Nothing is kept of it any more."},
            404: UNKNOWN,
            503: NO_REDIS,
        },
    )
    async def delete(request: Request, session: str) -> Response:
        """Ends a session that runs, cleanly, and removes all that is kept of it."""
        record = await visible(gateway, session, request.app.state.access(request, PUBLISH))
        was = await gateway.records.delete(record.id)
        if was is None or was.state is SessionState.ENDED:
            return Response(status_code=204)
        await gateway.janitor.end(was)
        return Response(status_code=202)

    return routes
