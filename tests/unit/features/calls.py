"""Calls for the stage's tests: audio logs with marks, workers that run or die over them, and what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.features.sound import clip

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.base.positions import GRID, Position, to_client
from stenoflow.bus.entry import Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.bus.logs import Tail
from stenoflow.runtime.stage import Track
from stenoflow.runtime.track_run import TrackRun
from stenoflow_features.channel import Channel
from stenoflow_features.detector import Detector
from stenoflow_features.stage import FeaturesStage

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"

KEY = TrackKey(SessionId("s00-0000000000000001"), 0, Epoch("e1"))

Log = list[tuple[EntryId, Entry]]


@lru_cache
def stage() -> FeaturesStage:
    """One stage for all tests: it keeps nothing between tracks."""
    return FeaturesStage(Detector())


@lru_cache
def conversation(rate: int) -> NDArray[np.int16]:
    """Speech, faint noise, digital silence, speech, a long pause with a detector reset, speech: about 24 s."""
    faint = (np.random.default_rng(3).standard_normal(10 * 16_000) * 12).astype(np.int16)
    parts = [
        faint[:8_000],
        clip("ls-5142-33396-0011"),
        np.zeros(12_000, np.int16),
        clip("an4-an393-mjwl-b"),
        faint,
        clip("aws-demo2-019680"),
        faint[:4_000],
    ]
    return at_rate(np.concatenate(parts), rate)


def sample_call(track: int) -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    """One side of the shipped two-sided call: sound at 16 kHz and its turns, in samples."""
    soundfile = pytest.importorskip("soundfile", reason="real speech needs soundfile")
    path = SAMPLES / "two-sided-call.flac"
    if not path.exists():
        pytest.skip(f"real speech is missing: {path}")
    sound, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    turns = json.loads(path.with_suffix(".json").read_text())
    mine = [(round(turn["begin"] * rate), round(turn["end"] * rate)) for turn in turns if turn["track"] == track]
    return np.ascontiguousarray(sound[:, track]), mine


def at_rate(samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
    """16 kHz sound as a client at ``rate`` would send it, cut to whole 10 ms."""
    soxr = pytest.importorskip("soxr", reason="clients at other rates are made with soxr")
    sent = samples if rate == 16_000 else soxr.resample(samples.astype(np.float32), 16_000, rate)
    whole = len(sent) // (rate // 100) * (rate // 100)
    return np.asarray(sent[:whole].clip(-32768, 32767), np.int16)


def client_mark(kind: MarkKind, at: int, number: int, **fields: Any) -> Mark:
    return Mark(kind, at, "client", number, fields)


def audio_log(
    samples: NDArray[np.int16], pieces: Sequence[tuple[int, int]], marks: Sequence[Mark] = (), base: int = 0
) -> Log:
    """An audio log with the given pieces; marks (client positions, in order) stand in the entry that reaches them.

    A mark at an entry's very end gets an entry of its own every other time, as one that came late.
    """
    log: Log = []
    waiting, passed = list(marks), 0
    last: tuple[int, int] = (-1, 0)

    def add(begin: int, end: int, here: list[Mark]) -> None:
        nonlocal passed, last
        pcm = samples[begin - base : end - base].astype("<i2").tobytes()
        spans = (Span(begin, end),) if end > begin else ()
        last = (end, last[1] + 1 if last[0] == end else 1)
        entry = Entry(KEY, Kind.AUDIO, begin, end, spans, 1, 2, pcm, tuple(here), marks_before=passed)
        passed += len(here)
        log.append((EntryId(*last), entry))

    for begin, end in pieces:
        here = [mark for mark in waiting if mark.at - base < end or (mark.at - base == end and mark.number % 2)]
        waiting = [mark for mark in waiting if mark not in here]
        add(begin + base, end + base, here)
        while waiting and waiting[0].at - base == end:
            add(end + base, end + base, [waiting.pop(0)])
    assert not waiting, waiting
    return log


@dataclass
class Written:
    """What a track's features log holds, entries joined: equal for equal sound, however it was cut."""

    end: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    data: bytes = b""
    marks: list[Mark] = field(default_factory=list)

    @classmethod
    def of(cls, log: Log, base: int = 0) -> Written:
        written = cls(base)
        for entry_id, entry in log:
            assert entry.begin == written.end, f"{entry_id} begins at {entry.begin}, not {written.end}"
            written.end = entry.end
            for span in entry.spans:
                assert span.begin < span.end
                if written.spans and written.spans[-1][1] == span.begin:
                    written.spans[-1] = (written.spans[-1][0], span.end)
                else:
                    written.spans.append((span.begin, span.end))
            written.data += entry.data
            written.marks += entry.marks
        return written

    @property
    def segments(self) -> list[tuple[int, int]]:
        begins = [mark.at for mark in self.marks if mark.kind is MarkKind.SEGMENT_BEGIN]
        ends = [mark.at for mark in self.marks if mark.kind is MarkKind.SEGMENT_END]
        return list(zip(begins, ends, strict=True))


class Worker:
    """A worker's hold on one track: reads an audio log from its tail's restart point, appends to ``output``."""

    def __init__(self, rate: int, output: Log, base: int = 0, settings: dict[str, Any] | None = None) -> None:
        self.output = output
        opening = Entry(KEY, Kind.OPENING, base, base, restart=to_client(Position(base), rate))
        entry_id, entry = output[-1] if output else (EntryId(base, 1), opening)
        marks = tuple(
            mark for one, made in output if one.end == entry_id.end for mark in made.marks if mark.at == entry.end
        )
        count = sum(len(made.marks) for _, made in output)
        track = Track(KEY, base, rate, settings or {})
        self.run: TrackRun[Channel] = TrackRun(stage(), track, Tail(entry_id, entry, marks, count))

    def read(self, log: Log, entries: int = 1) -> bool:
        """One step over the next entries that the log still holds; whether there were any."""
        left = trimmed(log, self.run.restart if self.output else 0)
        news = [item for item in left if item[0] > self.run.input.read_after][:entries]
        if news:
            fresh = self.run.take(news)
            [step] = stage().step([(self.run.state, fresh)]) if fresh else [None]
            if step is not None:
                self.output += self.run.emit(step)
        return bool(news)


def trimmed(log: Log, restart: int) -> Log:
    """What ``XTRIM MINID = <R>-0`` leaves."""
    return [item for item in log if item[0].end >= restart]


def undisturbed(log: Log, rate: int, entries: int = 1, base: int = 0, settings: dict[str, Any] | None = None) -> Log:
    """The features log of one worker that lives."""
    output: Log = []
    worker = Worker(rate, output, base, settings)
    while worker.read(log, entries):
        pass
    return output


def milliseconds(ms: float, rate: int) -> int:
    """Client samples of a time on the 10 ms grid."""
    return to_client(Position(round(ms / 10) * GRID), rate)
