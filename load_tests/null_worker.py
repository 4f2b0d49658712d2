"""Workers that only pass entries on: what is left is the bus, the gateway and the loop.

python -m load_tests.null_worker features --redis unix:///…
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from stenoflow.base.positions import ClientPosition, to_position
from stenoflow.bus.entry import Entry, Kind
from stenoflow.bus.records import Stages
from stenoflow.protocol.messages import Partial
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow.runtime.settings import WorkerSettings
from stenoflow.runtime.stage import ResumeFrom, Step, Track

KINDS = {Stages.FEATURES: Kind.FEATURES, Stages.ACOUSTIC: Kind.EMISSIONS}
PLACES = 2000


@dataclass
class Passing:
    """How far a track is, 16 kHz samples."""

    track: Track
    position: int


class NullStage:
    """Covers the same ranges without content; the decoder's place says at each step how far it is."""

    def __init__(self, name: Stages) -> None:
        self._name = name

    def open(self, track: Track, at: ResumeFrom) -> Passing:
        """A track at its output's end."""
        return Passing(track, at.written)

    def step(self, batch: Sequence[tuple[Passing, Sequence[Entry]]]) -> Sequence[Step]:
        """Passes ranges and marks on."""
        return [self._pass(state, entries) for state, entries in batch]

    def close(self, state: Passing) -> None:
        """Nothing is held."""

    def _pass(self, state: Passing, entries: Sequence[Entry]) -> Step:
        rate = state.track.sample_rate
        end = entries[-1].end
        marks = tuple(mark for entry in entries for mark in entry.marks)
        if self._name is Stages.FEATURES:
            position: int = to_position(ClientPosition(end), rate)
            marks = tuple(mark.moved(to_position(ClientPosition(mark.at), rate)) for mark in marks)
        else:
            position = end
        if self._name is Stages.DECODER:
            return self._caption(state, position, entries, marks)
        made = Entry(state.track.key, KINDS[self._name], state.position, position, marks=marks)
        state.position = position
        return Step((made,), restart=end, position=position)

    def _caption(self, state: Passing, position: int, entries: Sequence[Entry], marks: tuple) -> Step:  # type: ignore[type-arg]
        number = state.track.key.number
        if entries[-1].ends:
            made = Entry(state.track.key, Kind.FINAL, state.position, position, data=_final(number), marks=marks)
            return Step((made,), restart=position, position=position)
        partial = Partial(track=number, utterance=0, revision=position, begin=0, end=position, text="null", stable=0)
        return Step((), restart=state.position, position=position, live=partial.model_dump_json().encode())


def _final(number: int) -> bytes:
    return b'{"type":"final","track":%d,"utterance":0,"begin":0,"end":0,"text":"","words":[],"confidence":0}' % number


def main() -> int:
    """Runs one null worker; the first argument is the stage."""
    name = Stages(sys.argv[1])

    def compose(settings: WorkerSettings, registry: CollectorRegistry) -> Worker:
        return Worker(NullStage(name), PLACES)

    return process.main(name, WorkerSettings, compose, "A worker that passes entries on.", sys.argv[2:])


if __name__ == "__main__":
    raise SystemExit(main())
