"""The same stages in one process: a whole call is one deterministic function call.

It is the oracle of all other tests: whatever dies, stalls or is cut elsewhere, the finals must equal those from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.base.positions import Position, to_client
from stenoflow.bus.entry import Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import LogKey, LogName, Tail
from stenoflow.bus.opening import opening_entries, opening_id
from stenoflow.bus.records import SessionRecord, SessionState, Stages, TrackInfo
from stenoflow.runtime.holdings import track_of
from stenoflow.runtime.look_back import HEARD_AGAIN, MARGIN, Stretch, in_units_of, with_what_is_heard
from stenoflow.runtime.places import PLACES
from stenoflow.runtime.spotted import spotted_messages
from stenoflow.runtime.stage import Stage, Track
from stenoflow.runtime.track_run import TrackRun


@dataclass(frozen=True, slots=True)
class Sound:
    """One track of a call: 16-bit little-endian PCM.

    Args:
        name: e.g. ``agent``.
        sample_rate: Hz, one of the accepted rates.
        pcm: the samples.
    """

    name: str
    sample_rate: int
    pcm: bytes


class InProcessCall:
    """A call whose tracks pass all stages as its sound is fed.

    Args:
        stages: every stage, ready.
        tracks: name and rate of each track.
        settings: the session's settings, as in its record.

    The second pass is run where ``stages`` has one.
    """

    def __init__(
        self,
        stages: Mapping[Stages, Stage[Any]],
        tracks: Sequence[TrackInfo],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._stages = stages
        session, epoch = SessionId("s00-0000000000000000"), Epoch("0")
        self.record = SessionRecord(
            session,
            epoch,
            1,
            SessionState.OPEN,
            "",
            "file",
            "",
            tuple(tracks),
            dict(settings or {}),
            second_pass="in-process" if Stages.SECOND_PASS in stages else "",
        )
        self._places = [place for place in PLACES if place.stage in stages]
        # What a second pass may hear again: of each track's log, the entries from its last final on.
        self._kept: dict[LogKey, list[tuple[EntryId, Entry]]] = {}
        openings = opening_entries(self.record)
        self._runs: dict[Stages, dict[TrackKey, TrackRun[Any]]] = {
            place.stage: {
                entry.track: TrackRun(
                    stages[place.stage],
                    track_of(self.record, entry.track),
                    Tail(opening_id(entry), entry, (), 0),
                )
                for entry in openings[place.output]
            }
            for place in self._places
        }
        self._audio_end = dict.fromkeys(self.record.track_keys(), 0)
        self._audio_marks = dict.fromkeys(self.record.track_keys(), 0)

    def feed(self, sound: Mapping[int, bytes], *, end: bool = False) -> list[Entry]:
        """Passes some sound of some tracks through all stages.

        Args:
            sound: by track number, PCM that follows what was fed before.
            end: no more comes, on any track.

        Returns:
            what came out, in order: entries of ``finals`` (kind final) and ``live`` (kind live).
        """
        news: dict[TrackKey, list[tuple[EntryId, Entry]]] = {}
        for key in self.record.track_keys():
            pcm = sound.get(key.number, b"")
            if pcm or end:
                news[key] = [self._audio_entry(key, pcm, end)]
        out: list[Entry] = []
        for place in self._places:
            runs = self._runs[place.stage]
            self._keep(place.input, news)
            batch = [
                (runs[key], self._with_what_is_heard(place.stage, key, fresh))
                for key, entries in news.items()
                if (fresh := runs[key].take(entries))
            ]
            steps = self._stages[place.stage].step([(run.state, fresh) for run, fresh in batch]) if batch else []
            news = {}
            for (run, _), step in zip(batch, steps, strict=True):
                news[run.track.key] = run.emit(step)
                if step.live is not None:
                    out.append(Entry(run.track.key, Kind.LIVE, run.position, run.position, data=step.live))
        out.extend(entry for entries in news.values() for _, entry in entries)
        return out

    def close(self) -> None:
        """Gives back the stages' slots."""
        for stage, runs in self._runs.items():
            for run in runs.values():
                self._stages[stage].close(run.state)

    def _keep(self, log: LogName, news: Mapping[TrackKey, Sequence[tuple[EntryId, Entry]]]) -> None:
        if not self.record.second_pass or log not in HEARD_AGAIN:
            return
        for key, entries in news.items():
            needed = self._runs[Stages.SECOND_PASS][key].position - MARGIN
            begin, _ = in_units_of(log, self._track(key), Stretch(needed, needed))
            kept = self._kept.get(LogKey(key, log), [])
            self._kept[LogKey(key, log)] = [(each, entry) for each, entry in kept if entry.end > begin] + list(entries)

    def _with_what_is_heard(self, stage: Stages, key: TrackKey, fresh: list[Entry]) -> list[Entry]:
        looks_back: Any = self._stages[stage]
        if stage is not Stages.SECOND_PASS:
            return fresh
        heard: dict[int, list[Entry]] = {}
        for entry in fresh:
            stretch = looks_back.wants(entry)
            if stretch is None:
                continue
            for log in HEARD_AGAIN:
                begin, until = in_units_of(log, self._track(key), stretch)
                kept = self._kept[LogKey(key, log)]
                heard.setdefault(entry.end, []).extend(each for _, each in kept if begin < each.end <= until)
        return with_what_is_heard(fresh, heard)

    def _track(self, key: TrackKey) -> Track:
        return track_of(self.record, key)

    def _audio_entry(self, key: TrackKey, pcm: bytes, end: bool) -> tuple[EntryId, Entry]:
        begin = self._audio_end[key]
        stop = begin + len(pcm) // 2
        marks = (Mark(MarkKind.END, stop, "client", self._audio_marks[key]),) if end else ()
        entry = Entry(
            key,
            Kind.AUDIO,
            begin,
            stop,
            spans=(Span(begin, stop),) if pcm else (),
            hop=1,
            frame_bytes=2,
            data=pcm,
            marks=marks,
            marks_before=self._audio_marks[key],
        )
        self._audio_end[key] = stop
        self._audio_marks[key] += len(marks)
        return EntryId(stop, 1), entry


def transcribe(
    stages: Mapping[Stages, Stage[Any]],
    sounds: Sequence[Sound],
    *,
    chunk_ms: int = 160,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Captions of a whole call, one deterministic pass.

    Args:
        stages: every stage, ready.
        sounds: the tracks.
        chunk_ms: how much sound each step gets.
        settings: as in a session's record.

    Yields:
        the protocol's ``partial``, ``spotted`` and ``final`` messages (also finals with empty text), as they come; what
        was spotted comes right before the final of its utterance.
    """
    call = InProcessCall(stages, [TrackInfo(sound.name, "pcm_s16le", sound.sample_rate) for sound in sounds], settings)
    try:
        step = 0
        more = True
        while more:
            pieces: dict[int, bytes] = {}
            more = False
            for number, sound in enumerate(sounds):
                size = 2 * to_client(Position(chunk_ms * 16), sound.sample_rate)
                pieces[number] = sound.pcm[step * size : (step + 1) * size]
                more = more or (step + 1) * size < len(sound.pcm)
            for entry in call.feed(pieces, end=not more):
                if entry.kind is Kind.FINAL:
                    for spotted in spotted_messages(entry.track.number, entry.marks):
                        yield spotted.model_dump()
                if entry.kind in (Kind.LIVE, Kind.FINAL) and entry.data:
                    yield json.loads(entry.data)
            step += 1
    finally:
        call.close()
