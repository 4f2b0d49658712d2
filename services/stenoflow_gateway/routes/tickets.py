"""``POST /v1/tickets``: the route by which a page's own server gets a one-use ticket for it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.access.tickets import Tickets

MAX_BODY = 1024
"""Longest request, bytes."""


class TicketRequest(BaseModel):
    """What a ticket is asked for; an empty body asks for all that the token grants."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    scope: str | None = Field(default=None, max_length=64)
    """`publish`, `watch` or both with a space between them; by default what the token has."""
    session: str | None = Field(default=None, pattern=r"^s\d\d-[0-9a-f]{16}$")
    """The one session that it is for, by the name in `started`: to watch it, or to resume it."""


class TicketAnswer(BaseModel):
    """A ticket."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    ticket: str
    """For one request or one WebSocket: in the `Authorization` header, or as the subprotocol `bearer.<ticket>`."""
    scope: str
    """What it grants."""
    expires_in_s: int
    """It must be used within so many seconds."""


def add_tickets(app: FastAPI, tickets: Tickets) -> None:
    """Adds the route.

    Args:
        app: has its access in its state.
        tickets: makes them.
    """
    body: dict[str, Any] = {
        "requestBody": {"content": {"application/json": {"schema": TicketRequest.model_json_schema()}}}
    }

    @app.post(
        "/v1/tickets", summary="A one-use ticket", status_code=201, response_model=TicketAnswer, openapi_extra=body
    )
    async def make_ticket(request: Request) -> JSONResponse:
        """Gives a ticket that a browser may have: it opens one WebSocket, or makes one request, and grants no more than
        the bearer token that it was asked for with. `scope` and `session` may make it less.
        """
        grant = app.state.access.identify(request)
        asked = await _read(request)
        scopes = None if asked.scope is None else asked.scope.split()
        ticket = await tickets.make(grant, scopes, asked.session)
        answer = TicketAnswer(
            ticket=ticket.text, scope=" ".join(sorted(ticket.scopes)), expires_in_s=ticket.expires_in_s
        )
        return JSONResponse(answer.model_dump(), 201, {"Cache-Control": "no-store"})


async def _read(request: Request) -> TicketRequest:
    body = b""
    async for piece in request.stream():  # read only now: whoever has no token sends nothing that is kept
        body += piece
        if len(body) > MAX_BODY:
            raise AccessError("invalid_request", f"a request for a ticket has at most {MAX_BODY} bytes")
    try:
        return TicketRequest.model_validate_json(body) if body else TicketRequest()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise AccessError("invalid_request", f"{where}: {first['msg']}") from None
