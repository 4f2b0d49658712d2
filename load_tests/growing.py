"""The usual way to stream Whisper, for comparison: the sound since the last cut is decoded again and again.

As whisper_streaming (Macháček et al. 2023, "Turning Whisper into Real-Time Transcription System") and WhisperLive do
it: one process a core, each with a model and its share of the live tracks. Every second a track's window is decoded;
words that two hypotheses in a row begin with are committed; the window is cut after the last committed sentence, or
after the last committed word once it is longer than 15 s. Where the level of all new sound is below -50 dB of full
scale (frames of 20 ms) nothing is decoded, and what is shown is committed. No prompt, temperature 0 alone.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier

import numpy as np
from numpy.typing import NDArray

from load_tests.conversations import loud
from load_tests.speakers import Shown, percentile
from load_tests.whisper_times import word_times
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.text.plain import plain_text
from stenoflow_cli.up import ONE_THREAD
from stenoflow_second_pass.models.whisper import WhisperModel, load_whisper

EVERY_S = 1.0
CUT_S = 15.0
LONGEST_S = 30.0
BEFORE_S = 0.5
"""Kept of the quiet before speech."""
DELAY_S = 2.0
"""A rung is held while p95 of the delay is at most this."""
GROWTH_S = 0.5
"""And is no more than this higher in its second half than in its first."""


class Agreement:
    """Local agreement over one window: what two hypotheses in a row begin with stays for good."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.committed = 0
        self._last: Sequence[str] = ()

    def push(self, words: Sequence[str]) -> list[str]:
        """Takes a new hypothesis of the window; gives the words that are committed by it."""
        agreed = 0
        for one, other in zip(self._last, words, strict=False):
            if plain_text(one) != plain_text(other):
                break
            agreed += 1
        self._last = words
        self.words = [*self.words[: self.committed], *words[self.committed :]]
        return self._commit(agreed)

    def flush(self) -> list[str]:
        """The window is over: what is shown stays."""
        news = self._commit(len(self.words))
        self.words, self.committed, self._last = [], 0, ()
        return news

    def cut(self, count: int) -> None:
        """The window now begins after its first `count` words, which are committed."""
        assert count <= self.committed, f"{count} words are cut, {self.committed} are committed"
        self.words, self.committed, self._last = self.words[count:], self.committed - count, self._last[count:]

    def cut_at(self, seconds: float) -> int:
        """How many words a window of so many seconds can lose; 0 for none."""
        ends = [at + 1 for at in range(self.committed) if self.words[at].endswith((".", "?", "!"))]
        return ends[-1] if ends else self.committed if seconds > CUT_S else 0

    def _commit(self, count: int) -> list[str]:
        news = self.words[self.committed : count]
        self.committed = max(self.committed, count)
        return news


@dataclass
class Live:
    """One live track and what became of it; seconds since the begin but for samples.

    Args:
        samples: its sound, all of it; what lies after now is not touched.
        due: when it is decoded next.
        begin: of the window, samples.
        heard_to: all before it was decoded or is quiet, samples.
        delays: of each second: when it came out as text, and how long after it was spoken.
    """

    samples: NDArray[np.int16]
    due: float
    begin: int = 0
    heard_to: int = 0
    agreement: Agreement = field(default_factory=Agreement)
    text: list[str] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    delays: list[tuple[float, float]] = field(default_factory=list)

    def hear(self, model: WhisperModel, until: int, began: float) -> bool:
        """Decodes the window up to sample `until`; False where there is nothing to decode."""
        if not loud(self.samples[self.heard_to : until]).any():
            self.text += self.agreement.flush()
            self.begin = max(self.begin, until - round(BEFORE_S * SAMPLE_RATE))
            self.heard_to = until
            return False
        if until - self.begin > LONGEST_S * SAMPLE_RATE:
            self.text += self.agreement.flush()
            self.begin = max(self.heard_to, until - round(LONGEST_S * SAMPLE_RATE))
        window = self.samples[self.begin : until].astype(np.float32) / np.float32(32768)
        words = model.read([window], [""])[0].text.split()
        before = len(self.agreement.words)
        self.text += self.agreement.push(words)
        self.heard_to = until
        more = len(self.agreement.words) - before
        self.shown.append(Shown(time.monotonic() - began, until / SAMPLE_RATE, more))
        count = self.agreement.cut_at(len(window) / SAMPLE_RATE)
        times = word_times(model, window, words) if 0 < count <= len(words) else None
        if times is not None:
            self.begin += round(times[count - 1][1] * SAMPLE_RATE)
            self.agreement.cut(count)
        return True


@dataclass(frozen=True, slots=True)
class Served:
    """What one process did; the order of tracks is that of the request."""

    texts: list[str]
    shown: list[list[Shown]]
    delays: list[tuple[float, float]]
    cpu_s: float


_model: WhisperModel | None = None


def _load(whole_window: bool, all_loaded: Barrier) -> None:
    global _model
    _model = load_whisper("cpu")
    _model._whole_window = whole_window
    _model.read([np.zeros(SAMPLE_RATE, np.float32)], [""])
    all_loaded.wait()


def serve(sounds: Sequence[bytes], begin: float, seconds: float) -> Served:
    """Serves tracks at real pace.

    Args:
        sounds: 16 kHz PCM of each.
        begin: when their first sample is spoken, on the machine's monotonic clock.
        seconds: how long they last.
    """
    assert _model is not None and time.monotonic() < begin, "the model is loaded before the call begins"
    spent = time.process_time()
    tracks = [
        Live(np.frombuffer(sound, "<i2"), EVERY_S * (1 + number / len(sounds))) for number, sound in enumerate(sounds)
    ]
    while tracks:
        track = min(tracks, key=lambda each: each.due)
        if track.due > seconds:
            break
        time.sleep(max(0.0, begin + track.due - time.monotonic()))
        now = time.monotonic() - begin
        decoded = track.hear(_model, min(round(now * SAMPLE_RATE), len(track.samples)), begin)
        out = time.monotonic() - begin
        while track.due <= now:  # a process that is late decodes several seconds at once
            if decoded:
                track.delays.append((out, out - track.due))
            track.due += EVERY_S
    for track in tracks:
        track.hear(_model, len(track.samples), begin)
        track.text += track.agreement.flush()
    delays = sorted(delay for track in tracks for delay in track.delays)
    texts, shown = [" ".join(track.text) for track in tracks], [track.shown for track in tracks]
    return Served(texts, shown, delays, time.process_time() - spent)


@contextmanager
def servers(whole_window: bool) -> Iterator[ProcessPoolExecutor]:
    """One process a core, its model loaded; :func:`serve_all` uses them."""
    os.environ.update(ONE_THREAD)
    count = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _load, (whole_window, context.Barrier(count))) as pool:
        for loaded in [pool.submit(time.monotonic) for _ in range(count)]:
            loaded.result()
        yield pool


def serve_all(pool: ProcessPoolExecutor, sounds: Sequence[bytes], seconds: float) -> list[Served]:
    """Serves tracks with all processes: track n is the n // cores-th of process n % cores."""
    count = os.cpu_count() or 1
    begin = time.monotonic() + 2.0
    asked = [pool.submit(serve, sounds[core::count], begin, seconds) for core in range(count)]
    return [one.result() for one in asked]


def keeps_up(delays: Sequence[tuple[float, float]], seconds: float) -> bool:
    """Whether the delay stays small and does not grow.

    Args:
        delays: when a second came out as text, and how long after it was spoken.
        seconds: length of the calls.
    """
    first = [delay for at, delay in delays if at < seconds / 2]
    second = [delay for at, delay in delays if at >= seconds / 2]
    if not first or not second:
        return False
    growth = percentile(second, 0.95) - percentile(first, 0.95)
    return percentile(first + second, 0.95) <= DELAY_S and growth <= GROWTH_S
