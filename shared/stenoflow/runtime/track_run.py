"""One track under one stage, without I/O: what of the input is news, and what of the output is new.

The worker loop and the in-process pipeline both run tracks through this; it keeps sentences 1, 2 and 4 of DESIGN 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Generic

from stenoflow.bus.entry import END_ID, Cursor, Entry, EntryId
from stenoflow.bus.logs import Tail
from stenoflow.runtime.stage import ResumeFrom, Stage, State, Step, Track


class TrackRun(Generic[State]):
    """A track from a log's tail on.

    Args:
        stage: whose state this is.
        track: what is known of the track.
        tail: the end of the stage's output log.
    """

    def __init__(self, stage: Stage[State], track: Track, tail: Tail) -> None:
        self.track = track
        self.state = stage.open(track, ResumeFrom(tail.entry, tail.marks))
        self.input = Cursor(track.key, tail.entry.restart)
        self.restart = tail.entry.restart
        self.position = tail.entry.end
        self.tail_id = tail.id
        self.over = tail.entry.ends
        self._output = Cursor.after(track.key, tail.entry.end, tail.marks)
        self._marks_count = tail.marks_count
        self._stamps: dict[str, int] = {}
        self.stamps: dict[str, int] = {}
        self.trace = ""

    def take(self, news: Sequence[tuple[EntryId, Entry]]) -> list[Entry]:
        """The parts of input entries that the stage has not seen.

        Raises:
            LogGap: positions or marks are missing; the state is unharmed only up to the entry before.
        """
        fresh = [entry for entry_id, raw in news if (entry := self.input.take(entry_id, raw)) is not None]
        for entry in fresh:
            self._stamps = entry.stamps or self._stamps
        return fresh

    def emit(self, step: Step, stamps: dict[str, int] | None = None, trace: str = "") -> list[tuple[EntryId, Entry]]:
        """The entries to append for a step, with ids, restart points and mark counts; what is in the log is left out.

        Args:
            step: what the stage made.
            stamps: wall-clock stamps of this step, added to those that came with the sound.
            trace: the context of this step's span, where it is traced.
        """
        self.stamps = {**self._stamps, **(stamps or {})}
        self.trace = trace
        self.restart = step.restart
        self.position = max(self.position, step.position)
        appended: list[tuple[EntryId, Entry]] = []
        for made in step.entries:
            entry = self._output.take(EntryId(made.end, 1), dataclasses.replace(made, marks_before=0))
            if entry is None:
                continue
            entry = dataclasses.replace(
                entry,
                marks_before=self._marks_count,
                restart=step.restart if made is step.entries[-1] else made.restart,
                stamps=self.stamps,
                trace=trace,
            )
            self._marks_count += len(entry.marks)
            self.tail_id = next_id(self.tail_id, entry)
            self.over = self.over or entry.ends
            appended.append((self.tail_id, entry))
        return appended


def next_id(tail: EntryId, entry: Entry) -> EntryId:
    """The id of an entry that is appended after ``tail`` (DESIGN 2, sentence 2)."""
    if entry.ends:
        return END_ID
    return EntryId(entry.end, tail.n + 1 if entry.end == tail.end else 1)
