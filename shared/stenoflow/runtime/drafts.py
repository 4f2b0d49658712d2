"""What becomes of a draft that nobody hears again: it is final as it is (DESIGN 6a)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stenoflow.bus.entry import Entry, Kind
from stenoflow.runtime.stage import ResumeFrom, Step, Track

UNHEARD = "unheard"
"""In a final's carry: it has words, and the second pass had no time or no sound for them."""


CONFIGURED = "configured"
"""In the carry of a caption's entry: the settings in force at its end that are not those of the session's record."""


def configured_in(entry: Entry) -> Mapping[str, Any]:
    """The settings that were changed during the track, in force at the end of a draft or a first-pass final."""
    found: Mapping[str, Any] = entry.carry.get(CONFIGURED, {})
    return found


class _Said(msgspec.Struct):
    text: str


_read_text = msgspec.json.Decoder(_Said).decode


def text_of(draft: Entry) -> str:
    """What the first pass understood; empty where nothing was said."""
    return _read_text(draft.data).text if draft.data else ""


def final_entry(draft: Entry, data: bytes) -> Entry:
    """The final of a draft: it covers the same stretch and passes the same marks on."""
    return dataclasses.replace(draft, data=data, marks_before=0, restart=draft.end, carry={}, stamps={})


def unheard(draft: Entry) -> Entry:
    """The draft itself as its final."""
    entry = final_entry(draft, draft.data)
    return dataclasses.replace(entry, carry={UNHEARD: True}) if text_of(draft) else entry


@dataclass(slots=True)
class Passing:
    """A track whose drafts pass: how far they did."""

    position: int


class DraftsStand:
    """A second pass without ears: a :class:`stenoflow.runtime.stage.Stage` that makes every draft final as it is."""

    def open(self, track: Track, at: ResumeFrom) -> Passing:
        """A track from its last final on."""
        return Passing(at.written)

    def step(self, batch: Sequence[tuple[Passing, Sequence[Entry]]]) -> Sequence[Step]:
        """Every draft becomes its final."""
        steps: list[Step] = []
        for state, entries in batch:
            finals = tuple(unheard(entry) for entry in entries if entry.kind is Kind.FINAL)
            state.position = finals[-1].end if finals else state.position
            steps.append(Step(entries=finals, restart=state.position, position=state.position))
        return steps

    def close(self, state: Passing) -> None:
        """Nothing is held outside the state."""
