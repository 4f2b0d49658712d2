"""Occurrences of the phrases that a session wants to be told of, as they travel: in marks of caption logs and ``live``.

The decoder makes a mark as a phrase fires; the same mark goes to watchers at once and into the entry of the utterance
that it is in, so that none is lost and a redone stretch gives the same one again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stenoflow.bus.entry import Mark, MarkKind
from stenoflow.protocol.messages import Spotted


class Occurrence(NamedTuple):
    """A phrase, where it was said (16 kHz samples), and a score in [0, 1]."""

    phrase: str
    begin: int
    end: int
    score: float


def spotted_mark(at: int, who: str, occurrences: Iterable[Occurrence], *, closing: bool = False) -> Mark:
    """The mark of all phrases that fired at one position.

    Args:
        at: where they fired.
        who: the stage.
        occurrences: what fired.
        closing: they fired because the utterance ends there; the frame before may have fired others at the same place.
    """
    fields = {"occurrences": [occurrence._asdict() for occurrence in occurrences]}
    return Mark(MarkKind.SPOTTED, at, who, 2 * at + closing, fields)


def spotted_messages(track: int, marks: Sequence[Mark]) -> list[Spotted]:
    """What clients get for the marks of this kind among those of an entry."""
    return [
        Spotted.model_validate({"track": track, **occurrence})
        for mark in marks
        if mark.kind is MarkKind.SPOTTED
        for occurrence in mark.fields["occurrences"]
    ]


@dataclass(slots=True)
class ToldOnce:
    """Which marks of a track one socket was told of: each comes at once, and again with the final that it is in."""

    _told: set[tuple[int, int]] = field(default_factory=set)

    def take(self, track: int, marks: Sequence[Mark], committed: int, *, final_to: int | None = None) -> list[Spotted]:
        """Occurrences that are news.

        Args:
            track: its number.
            marks: of an entry of ``live``, or of ``finals``, which has them all.
            committed: what fired before it comes too late, but for finals.
            final_to: end of the entry of ``finals``: nothing that fired before it is news any more.
        """
        news = [
            mark
            for mark in marks
            if mark.kind is MarkKind.SPOTTED
            and (mark.at, mark.number) not in self._told
            and (final_to is not None or mark.at > committed)
        ]
        self._told |= {(mark.at, mark.number) for mark in news}
        if final_to is not None:
            self._told = {known for known in self._told if known[0] > final_to}
        return spotted_messages(track, news)
