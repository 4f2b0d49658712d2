"""Foreign exceptions and error replies, translated in one table (as httpcore's backends do)."""

from __future__ import annotations

import asyncio

from redis import exceptions as foreign

from stenoflow.base.errors import BusUnavailable, ConfigError, StenoflowError

Reply = object
"""What a server answers: bytes, int, list, None, or an exception that stands for an error reply."""

_CONNECTION_FAILS = (OSError, EOFError, asyncio.TimeoutError, foreign.ConnectionError, foreign.TimeoutError)

# By the first word of an error reply, or by the class that redis-py makes of it (it takes the word away then).
_FULL_WORDS = ("OOM", "MISCONF", "NOREPLICAS")
_FULL_CLASSES = (foreign.OutOfMemoryError,)
_AWAY_WORDS = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "UNBLOCKED", "BUSY")
_AWAY_CLASSES = (
    foreign.ReadOnlyError,
    foreign.ClusterDownError,
    foreign.TryAgainError,
    foreign.MovedError,
    foreign.AskError,
)
_DENIED_WORDS = ("NOAUTH", "WRONGPASS", "NOPERM")
_DENIED_CLASSES = (foreign.AuthenticationError, foreign.AuthorizationError, foreign.NoPermissionError)


def _is(reply: BaseException, words: tuple[str, ...], classes: tuple[type[Exception], ...]) -> bool:
    return isinstance(reply, classes) or (
        isinstance(reply, foreign.ResponseError) and str(reply).partition(" ")[0] in words
    )


def is_full(reply: Reply) -> bool:
    """Whether an error reply says that the server takes no writes now (memory, disk, or a lost quorum)."""
    return isinstance(reply, BaseException) and _is(reply, _FULL_WORDS, _FULL_CLASSES)


def is_away(reply: Reply) -> bool:
    """Whether an error reply says that this is not, or not now, the server to talk to: the connection must go."""
    return isinstance(reply, BaseException) and (
        isinstance(reply, _CONNECTION_FAILS) or _is(reply, _AWAY_WORDS, _AWAY_CLASSES)
    )


def is_refused(reply: Reply) -> bool:
    """Whether an XADD was refused because its id is not greater than the stream's last one."""
    return isinstance(reply, foreign.ResponseError) and (
        "equal or smaller" in str(reply) or "exhausted the last possible ID" in str(reply)
    )


def is_no_group(reply: Reply) -> bool:
    """Whether a claims stream or its group does not exist (an empty restart): nothing is held there."""
    return isinstance(reply, foreign.ResponseError) and str(reply).startswith("NOGROUP")


def is_busy_group(reply: Reply) -> bool:
    """Whether a group that was to be made existed already, which is fine."""
    return isinstance(reply, foreign.ResponseError) and str(reply).startswith("BUSYGROUP")


def translated(error: BaseException) -> BaseException:
    """Our error for a foreign exception; what has no translation is a bug and comes back as it is."""
    if isinstance(error, StenoflowError | asyncio.CancelledError):
        return error
    if type(error) is foreign.ConnectionError and isinstance(error.__cause__, foreign.RedisError):
        error = error.__cause__  # over a unix socket redis-py wraps what AUTH answered
    if _is(error, _DENIED_WORDS, _DENIED_CLASSES):
        return ConfigError("redis_denied", f"Redis refuses user or password, or a right is missing: {error}")
    if is_full(error):
        return BusUnavailable(f"Redis takes no writes now: {error}", code="bus_full")
    if is_away(error):
        return BusUnavailable(f"Redis cannot be used now: {error or type(error).__name__}")
    return error


def checked(reply: Reply) -> Reply:
    """The reply itself; raises what an error reply stands for, translated."""
    if isinstance(reply, BaseException):
        raise translated(reply)
    return reply
