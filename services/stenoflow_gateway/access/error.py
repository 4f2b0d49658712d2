"""The error of whoever may not come in, and how it is answered over HTTP and on a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping

from stenoflow.base.errors import ClientError
from stenoflow_gateway.session.events import Code

ANSWERS: Mapping[str, tuple[int, Code]] = {
    "unauthorized": (401, Code.UNAUTHORIZED),
    "token_expired": (401, Code.UNAUTHORIZED),
    "forbidden": (403, Code.FORBIDDEN),
    "other_tenant": (403, Code.FORBIDDEN),
    "foreign_page": (403, Code.FORBIDDEN),
    "token_in_address": (400, Code.BAD_CLIENT),
    "invalid_request": (400, Code.BAD_CLIENT),
}
"""Code → HTTP status, and the code that a WebSocket is closed with."""


class AccessError(ClientError):
    """A caller may not do what was asked for; the sentence says what is needed."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return ANSWERS[self.code][0]

    @property
    def close(self) -> Code:
        """What a WebSocket is closed with, after the ``error``."""
        return ANSWERS[self.code][1]
