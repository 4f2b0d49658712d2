"""The gateway's HTTP routes as OpenAPI, as FastAPI sees them."""

from __future__ import annotations

import json
from typing import cast

from stenoflow_gateway.app import make_app
from stenoflow_gateway.gateway import Gateway
from stenoflow_gateway.settings import GatewaySettings


def make() -> str:
    """The file."""
    never_run = cast(Gateway, None)
    return json.dumps(make_app(never_run, GatewaySettings()).openapi(), indent=2, ensure_ascii=False) + "\n"
