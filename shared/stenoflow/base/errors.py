"""Every error that Stenoflow raises on purpose.

    StenoflowError(code, message, retryable)
    ├── ClientError    the peer's fault; goes on the wire, harms its own session alone
    ├── LogError       a log has a gap, or the server cannot be used; the worker loop decides
    │   ├── LogGap     an entry begins beyond the reader's next position: samples were lost
    │   └── BusUnavailable   Redis cannot be reached, or refuses writes because it is full
    ├── BundleError    a bundle is missing, damaged or of another format; refuse to start
    └── ConfigError    settings or machine cannot carry the service; refuse to start

Anything else that is raised is a bug: the process ends and another worker takes its tracks.
"""

from __future__ import annotations


class StenoflowError(Exception):
    """An error with a machine-readable code and a sentence that says what to do.

    Args:
        code: stable snake_case name, e.g. ``unsupported_sample_rate``.
        message: one sentence with the value, the limit and what to do.
        retryable: whether the same request may succeed later, unchanged.
        retry_after_ms: when to try again, where that is known.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class ClientError(StenoflowError):
    """The client sent something that cannot be taken; only its own session ends or goes on without it."""


class LogError(StenoflowError):
    """A log did not do what its reader or writer needs; see the subclasses."""


class LogGap(LogError):
    """An entry begins beyond the position that its reader needs next (DESIGN 2, sentence 1)."""

    def __init__(self, key: str, expected: int, begin: int) -> None:
        super().__init__(
            "log_gap",
            f"the log {key} goes on at {begin}, but {expected} is needed next: {begin - expected} positions are lost",
        )
        self.key = key
        self.expected = expected
        self.begin = begin


class BusUnavailable(LogError):
    """Redis does not answer, or refuses writes; try again."""

    def __init__(self, message: str, code: str = "bus_unavailable") -> None:
        super().__init__(code, message, retryable=True, retry_after_ms=1000)


class BundleError(StenoflowError):
    """A model bundle cannot be used; the message says which file and why."""


class ConfigError(StenoflowError):
    """The process cannot start as configured; the message says what to change."""
