"""The route on which a session is watched: ``/v1/sessions/{session}/captions``."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket

from stenoflow.base.errors import BusUnavailable, ClientError, StenoflowError
from stenoflow.protocol.messages import SUBPROTOCOL, Error
from stenoflow_gateway.events import Code
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.problems import check_page
from stenoflow_gateway.sessions_api import visible
from stenoflow_gateway.settings import GatewaySettings


def make_routes(gateway: Gateway, settings: GatewaySettings) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.websocket("/v1/sessions/{session}/captions")
    async def captions(socket: WebSocket, session: str) -> None:
        try:
            check_page(socket, settings)
        except ClientError:
            await socket.close(Code.BAD_CLIENT)  # before it is accepted: HTTP 403
            return
        grant = socket.app.state.access(socket, "watch")
        # Tools that cannot name a subprotocol may watch too: nothing they could say would be heard.
        offered = SUBPROTOCOL in socket.scope.get("subprotocols", ())
        await socket.accept(subprotocol=SUBPROTOCOL if offered else None)
        try:
            record = await visible(gateway, session, grant)
        except StenoflowError as error:
            message = Error(code=error.code, message=error.message, retryable=error.retryable)
            await socket.send_text(message.model_dump_json())
            await socket.close(Code.TRY_LATER if isinstance(error, BusUnavailable) else Code.NO_SESSION)
            return
        await gateway.watch(socket, record)

    return routes
