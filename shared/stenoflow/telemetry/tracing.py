"""Tracing is off unless ``STENOFLOW_TRACING`` says where spans go; while it is off, nothing of OpenTelemetry is loaded.

What travels between services is one short string in the header of log entries: the context of the newest span, as a
W3C ``traceparent``. An utterance is one trace; a step over many tracks is a span of its own, linked both ways.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from stenoflow.base.errors import ConfigError

VARIABLE = "STENOFLOW_TRACING"


class OpenSpan(Protocol):
    """A span that has begun."""

    @property
    def context(self) -> str:
        """What its children, and entries, carry."""
        ...

    def end(self, at_ms: int) -> None:
        """It is over."""
        ...


class Tracing(Protocol):
    """Spans by wall-clock milliseconds. Attributes hold positions and ids, never a word that was said."""

    def root(self, name: str, begin_ms: int, attributes: Mapping[str, str | int]) -> OpenSpan:
        """The first span of a trace."""
        ...

    def child(
        self, name: str, parent: str, begin_ms: int, end_ms: int, attributes: Mapping[str, str | int] | None = None
    ) -> str:
        """A span that is over already; returns its context. Without a parent there is none, and nothing is noted."""
        ...

    def batch(self, stage: str, producers: Sequence[str], begin_ms: int, end_ms: int) -> Sequence[str]:
        """A step over many tracks: one span linked to all its producers, and a child of each, linked to it.

        Args:
            stage: names the spans.
            producers: per track the context that came with its news, empty for none.
            begin_ms: of the step.
            end_ms: of the step.

        Returns:
            per track the context that its output carries.
        """
        ...

    def close(self) -> None:
        """Sends what waits, for 2 s at most."""
        ...


def tracing_of(service: str) -> Tracing | None:
    """What the environment asks for; None where tracing is off.

    Raises:
        ConfigError: ``extra_missing``: it is on, and OpenTelemetry is not installed.
    """
    address = os.environ.get(VARIABLE, "")
    if not address:
        return None
    try:
        from stenoflow.telemetry.otlp import OtlpTracing
    except ImportError as error:
        raise ConfigError(
            "extra_missing", f"{error.name} is not installed: pip install 'stenoflow[tracing]', or unset {VARIABLE}"
        ) from None
    return OtlpTracing(service, address)
