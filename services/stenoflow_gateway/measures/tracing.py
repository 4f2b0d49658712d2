"""One trace an utterance, from the arrival of its sound to its final: the gateway's spans, where tracing is on.

A trace begins with the first sound after a final and ends with the next final of its track. So the moments of silence
that pass while a final is on its way belong to the trace before; the words of an utterance lie in one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from stenoflow.base.clock import Clock
from stenoflow.base.ids import TrackKey
from stenoflow.bus.entry import Entry, Kind
from stenoflow.telemetry.tracing import OpenSpan, Tracing
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.events import Event


class CallTracing:
    """The open utterances of all tracks that this gateway speaks for.

    Args:
        tracing: where spans go.
        clock: time.
    """

    def __init__(self, tracing: Tracing, clock: Clock) -> None:
        self._tracing = tracing
        self._clock = clock
        self._open: dict[TrackKey, OpenSpan] = {}

    def received(self, track: TrackKey, entry: Entry) -> Entry:
        """Sound is about to be appended: the entry with the context that the stages go on from."""
        received_ms = entry.stamps.get("received", self._clock.wall_ms())
        span = self._open.get(track)
        if span is None:
            about: dict[str, str | int] = {"stenoflow.session": track.session, "stenoflow.track": track.number}
            span = self._open[track] = self._tracing.root("utterance", received_ms, about)
        context = self._tracing.child("receive", span.context, received_ms, self._clock.wall_ms(), _range_of(entry))
        return dataclasses.replace(entry, trace=context)

    def news(self, event: Event) -> None:
        """Captions were read for a client, and leave."""
        match event:
            case on.LiveRead(_, entries):
                self._deliver("deliver partial", [entry for entry in entries if entry.data][-1:])
            case on.DraftsRead(_, entries):
                self._deliver("deliver draft", entries)
            case on.FinalsRead(track, entries):
                finals = [entry for _, entry in entries if entry.kind is Kind.FINAL]
                self._deliver("deliver final", finals)
                span = self._open.get(track)
                if span is not None and any(_trace_id(entry.trace) == _trace_id(span.context) for entry in finals):
                    self._end(track)

    def leave(self, tracks: Iterable[TrackKey]) -> None:
        """The socket is gone: another gateway, or another socket, begins its own traces."""
        for track in tracks:
            self._end(track)

    def _deliver(self, name: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            begin_ms = max(entry.stamps.values(), default=self._clock.wall_ms())
            self._tracing.child(name, entry.trace, begin_ms, self._clock.wall_ms(), _range_of(entry))

    def _end(self, track: TrackKey) -> None:
        span = self._open.pop(track, None)
        if span is not None:
            span.end(self._clock.wall_ms())


def _range_of(entry: Entry) -> dict[str, str | int]:
    return {"stenoflow.begin": entry.begin, "stenoflow.end": entry.end}


def _trace_id(traceparent: str) -> str:
    return traceparent[3:35]
