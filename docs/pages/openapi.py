"""The gateway's HTTP routes as OpenAPI, as FastAPI sees them."""

from __future__ import annotations

import json

from stenoflow.base.clock import SystemClock
from stenoflow.bus.memory import MemoryBus
from stenoflow_gateway.app import make_app
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.settings import GatewaySettings


def make() -> str:
    """The file."""
    settings = GatewaySettings(token_key=None, token_key_file=None)
    never_run = Gateway(MemoryBus(SystemClock()), SystemClock(), settings)
    return json.dumps(make_app(never_run, settings).openapi(), indent=2, ensure_ascii=False) + "\n"
