"""The route on which a session is watched: ``/v1/sessions/{session}/captions``."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from stenoflow.protocol.messages import SUBPROTOCOL
from stenoflow_gateway.access.grants import WATCH
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.routes.sessions import visible


def make_routes(gateway: Gateway) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.websocket("/v1/sessions/{session}/captions")
    async def captions(socket: WebSocket, session: str) -> None:
        record = await visible(gateway, session, socket.app.state.access(socket, WATCH))
        # Tools that cannot name a subprotocol may watch too: nothing they could say would be heard.
        offered = SUBPROTOCOL in socket.scope.get("subprotocols", ())
        await socket.accept(subprotocol=SUBPROTOCOL if offered else None)
        await gateway.watch(socket, record)

    return routes
