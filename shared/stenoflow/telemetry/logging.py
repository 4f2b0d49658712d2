"""Structured logs: one line an event, JSON unless a person watches. Never a word that was said, never a token."""

from __future__ import annotations

import logging
import sys

import structlog


def set_up_logging(service: str, *, level: str = "INFO", json: bool | None = None) -> None:
    """Sends structlog's events to standard error.

    Args:
        service: bound to every line.
        level: lines below it are dropped before they are made.
        json: one JSON object a line; default: unless standard error is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)
