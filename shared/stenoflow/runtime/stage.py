"""What a stage is: a plain class, synchronous, without I/O, clock or chance (DESIGN 2, sentence 3, and DESIGN 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import Entry, Mark

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Track:
    """What a stage knows of a track when it opens it.

    Args:
        key: session, number and epoch.
        base: first position of the epoch, 16 kHz samples.
        sample_rate: the client's, Hz.
        settings: the session's settings in force at ``base``: ``endpointing``, ``boost``, ``partials``, ``bundle``.
        second_pass: the model that hears each utterance again; empty for none.
        features: what the session's bundle hears; see :func:`stenoflow.bundle.card.asked`.
    """

    key: TrackKey
    base: int
    sample_rate: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    second_pass: str = ""
    features: str = ""


@dataclass(frozen=True, slots=True)
class ResumeFrom:
    """Where a stage takes a track up.

    Args:
        tail: the newest entry of the stage's *output* log; for a fresh track the opening entry (``kind`` opening,
            end = base, restart = the base in the input's units, empty carry).
        marks_at_tail: the marks that already stand at the tail's end. They must not be written again; the runtime
            drops them should they come.
    """

    tail: Entry
    marks_at_tail: tuple[Mark, ...] = ()

    @property
    def written(self) -> int:
        """T: the output holds all before it (output units)."""
        return self.tail.end

    @property
    def restart(self) -> int:
        """R: the input will be read from here (input units)."""
        return self.tail.restart


@dataclass(frozen=True, slots=True)
class Step:
    """What one step makes of one track's news.

    Args:
        entries: to append to the output log, tiling from the last one's end. At most one for a stage whose output
            has frames; the decoder gives one per utterance. ``marks_before`` is filled in by the runtime, and so
            are positions' duplicates dropped after a restart: a stage may give again what lies before ``written``.
        restart: R after this step, input units; the runtime writes it into the entries, notes it and trims to it.
        position: how far the stage is, 16 kHz samples, for progress.
        live: a message for watchers that the next one supersedes (the decoder's partial); JSON bytes.
        live_marks: marks for watchers (``quality``), published beside ``live``.
    """

    entries: tuple[Entry, ...]
    restart: int
    position: int
    live: bytes | None = None
    live_marks: tuple[Mark, ...] = ()


class Stage(Protocol[State]):
    """A stage: a pure function of its input log, its bundle and the session's settings."""

    def open(self, track: Track, at: ResumeFrom) -> State:
        """The state of a track at ``at``. The next input begins at ``at.restart`` (or earlier, never later)."""
        ...

    def step(self, batch: Sequence[tuple[State, Sequence[Entry]]]) -> Sequence[Step]:
        """Takes news of many tracks at once and gives one :class:`Step` per item, in order. Mutates the states."""
        ...

    def close(self, state: State) -> None:
        """Gives back what the state holds (slots)."""
        ...
