"""Structured logs: one line an event, JSON unless a person watches. Never a word that was said, never a token.

What is not ours may say anything: messages of libraries, of warnings and of exceptions hold what they were given. So of
these a line says who, of which kind and where, and leaves the message out.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from types import TracebackType

import structlog

FRAMES = 4
"""How much of a traceback is told: file and line of the innermost calls."""


def set_up_logging(service: str, *, level: str = "INFO", json: bool | None = None) -> None:
    """Sends structlog's events, and word of everything else, to standard error.

    Args:
        service: bound to every line.
        level: lines below it are dropped before they are made.
        json: one JSON object a line; default: unless standard error is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    structlog.configure(
        processors=[
            lambda _, __, event: {"service": service, **event},  # not a context variable: threads have none of ours
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[LibraryLines()], level=logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)


class LibraryLines(logging.Handler):
    """What libraries log (uvicorn, asyncio, warnings), as one event each and without its message."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            "library line",
            logger=record.name,
            where=f"{record.pathname}:{record.lineno}",
            kind=type(error).__name__ if error is not None else None,
            frames=frames_of(error.__traceback__) if error is not None else [],
        )


def frames_of(found: TracebackType | None) -> list[str]:
    """File and line of the innermost calls, outermost first."""
    return [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(found)[-FRAMES:]]


def _uncaught(kind: type[BaseException], error: BaseException | None, found: TracebackType | None) -> None:
    """A bug ends the process (or a thread): one line, for the message may hold what was said."""
    if issubclass(kind, KeyboardInterrupt):
        return
    causes: list[dict[str, str | list[str]]] = []
    while error is not None and len(causes) < FRAMES:
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        causes.append({"kind": type(error).__name__, "frames": frames_of(error.__traceback__)})
        error = inner
    structlog.get_logger().critical("bug", kind=kind.__name__, causes=causes)
