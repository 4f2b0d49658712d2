"""Resume tokens: ``<session>.<secret>``, and a seal behind them where the gateway has a secret.

Only the hash is ever stored, and none is ever logged (PAINS 29).
"""

from __future__ import annotations

import hashlib
import re

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import SessionId

_SESSION = re.compile(r"s\d\d-[0-9a-f]{16}")


def make_token(session: SessionId, secret: str) -> str:
    """The token that resumes a session."""
    return f"{session}.{secret}"


def hash_of(token: str) -> str:
    """What the record keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def session_of(token: str) -> SessionId:
    """The session that a token names.

    Raises:
        ClientError: ``malformed_token``.
    """
    session, _, secret = token.partition(".")
    if not _SESSION.fullmatch(session) or not secret:
        raise ClientError(
            "malformed_token", "the resume token is none of this server's; send the one from 'started', or none"
        )
    return SessionId(session)
