"""What the doctor says of one thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stenoflow.base.errors import StenoflowError


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and may not for long, or not for all."""
    WRONG = "wrong"
    """Calls fail, or will."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Args:
        level: how it is.
        what: that was looked at, in a word or two.
        sentence: what was found; where it is not ok, also what to do.
    """

    level: Level
    what: str
    sentence: str


def ok(what: str, sentence: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, what, sentence)


def warn(what: str, sentence: str) -> Finding:
    """Something to do when there is time."""
    return Finding(Level.WARN, what, sentence)


def wrong(what: str, sentence: str | StenoflowError) -> Finding:
    """Something to do now; typed errors say in their own sentence what."""
    return Finding(Level.WRONG, what, sentence.message if isinstance(sentence, StenoflowError) else sentence)
