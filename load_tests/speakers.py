"""Two-sided calls at real pace, in an open loop: each chunk is due by the clock, whatever comes back.

All latencies are on the sender's clock, from when a sample was due, so that a slow server cannot hide its own queue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stenoflow.audio.files import open_audio
from stenoflow.base.errors import ClientError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow.text.plain import plain_words
from stenoflow.text.shown import first_shown
from stenoflow_cli.streaming import Stream

CLIPS = Path(__file__).resolve().parents[1] / "tests" / "clips"
CHUNK_MS = 160
GIVE_UP_S = 15.0
"""A caller whom nobody answers hangs up after this; who hears that there is no place does so at once."""


class Voice(Protocol):
    """What one track says: 16-bit PCM that is made when it is spoken, so that long calls take no memory."""

    @property
    def sample_rate(self) -> int:
        """Hz, as the client sends it."""

    @property
    def length(self) -> int:
        """Samples in all."""

    def spoken(self, begin: int, end: int) -> bytes:
        """The samples ``[begin, end)``; fewer at the end."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A voice that lies in memory, 16 kHz."""

    pcm: bytes
    sample_rate: int = SAMPLE_RATE

    @property
    def length(self) -> int:
        """Samples in all."""
        return len(self.pcm) // 2

    def spoken(self, begin: int, end: int) -> bytes:
        """The samples ``[begin, end)``."""
        return self.pcm[2 * begin : 2 * end]


@dataclass(frozen=True, slots=True)
class Shown:
    """A change of what is shown of a track, seconds since the call began.

    Args:
        at: when.
        heard_to: it is about sound before this.
        more: words than were shown before; may be negative.
    """

    at: float
    heard_to: float
    more: int


Captions = list[tuple[float, str]]
"""When, and which text, of one utterance."""


@dataclass
class Heard:
    """What one call measured, seconds.

    Args:
        covered: of each track, the end of a chunk and how long after it was due the first partial
            or progress came that covers it.
        word: from a word's end in the sound to the first caption that shows it, unrevised afterwards.
        early: the same of those words alone that a caption before the final shows: the first pass had them right.
        final: from the end of an utterance's last word to its final.
        first_partial: from the start of an utterance's first word to the first caption of it.
        lag: second of the call, and the age of the oldest sample that the decoder had not covered then.
        steps: of the captions whose ways the gateway told, seconds in each step.
        late: how much later than due the sender woke for a chunk: its own lack of processor time.
        pause: the longest time in which no track's captions covered new sound.
        finals: each with the captions of its utterance, the final last; those of both passes, in order.
        shown: of each track.
        ended: the server's totals.
        resumes: how often the call went on over a new socket.
        refused: the code of the error that ended the call.
        since: second of the call from which on it is measured.
    """

    since: float = 0.0
    covered: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    word: list[float] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    first_partial: list[float] = field(default_factory=list)
    lag: list[tuple[float, float]] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)
    pause: float = 0.0
    finals: list[tuple[wire.Final, Captions]] = field(default_factory=list)
    shown: dict[int, list[Shown]] = field(default_factory=dict)
    ended: wire.Ended | None = None
    resumes: int = 0
    refused: str = ""

    @property
    def chunk(self) -> list[float]:
        """From each chunk's due time to the first partial or progress that covers it."""
        return [late for chunks in self.covered.values() for second, late in chunks if second >= self.since]

    @property
    def passes(self) -> list[int]:
        """The pass of each final that has words."""
        return [final.pass_ for final, _ in self.finals if final.text]

    def said(self, track: int) -> str:
        """The finals of a track."""
        return " ".join(final.text for final, _ in self.finals if final.track == track and final.text)

    def find_words(self) -> None:
        """Fills `word` and `early`: not during the call, whose clock it would disturb."""
        for final, captions in self.finals:
            plain = [(at, plain_words(text)) for at, text in captions]
            words = [word.word for word in final.words]
            for word, at in zip(final.words, first_shown(plain, words), strict=True):
                if word.end / SAMPLE_RATE < self.since:
                    continue
                self.word.append(at - word.end / SAMPLE_RATE)
                if at < captions[-1][0]:
                    self.early.append(self.word[-1])


def clip_sounds() -> list[bytes]:
    """The repository's clips as 16 kHz PCM, some seconds each."""
    return [clip_sound(path) for path in sorted(CLIPS.glob("*.opus"))]


def clip_sound(path: Path) -> bytes:
    """One of them."""
    audio = open_audio(path)
    samples = np.frombuffer(b"".join(block[0] for block in audio.blocks()), "<i2")
    if audio.sample_rate != SAMPLE_RATE:  # Opus comes out at 48 kHz: a plain third is enough for a load
        samples = samples[:: audio.sample_rate // SAMPLE_RATE]
    return samples.tobytes()


def two_sided(clips: Sequence[bytes], seed: int, seconds: float) -> tuple[bytes, bytes]:
    """Two tracks that take turns, so that each speaks about half of the time; another order for each seed."""
    order = random.Random(seed)
    tracks = [bytearray(), bytearray()]
    speaker = seed % 2
    wanted = round(seconds * SAMPLE_RATE) * 2
    while len(tracks[0]) < wanted:
        turn = order.choice(clips)
        pause = bytes(2 * order.randrange(SAMPLE_RATE // 10, SAMPLE_RATE // 2))
        tracks[speaker] += turn + pause
        tracks[1 - speaker] += bytes(len(turn) + len(pause))
        speaker = 1 - speaker
    return bytes(tracks[0][:wanted]), bytes(tracks[1][:wanted])


def at_once(clips: Sequence[bytes], seed: int, seconds: float) -> tuple[bytes, bytes]:
    """Two tracks that both speak all the time, but for a breath between clips."""
    order, wanted = random.Random(seed), round(seconds * SAMPLE_RATE) * 2
    tracks = []
    for _ in range(2):
        track = bytearray()
        while len(track) < wanted:
            track += order.choice(clips) + bytes(2 * order.randrange(SAMPLE_RATE // 10, SAMPLE_RATE // 2))
        tracks.append(bytes(track[:wanted]))
    return tracks[0], tracks[1]


class Listener:
    """Notes what comes back of one call, by the caller's clock.

    Args:
        heard: what it fills.
        now: seconds since the call began.
        seconds: how long the caller speaks.
    """

    def __init__(self, heard: Heard, now: Callable[[], float], seconds: float) -> None:
        self._heard = heard
        self._now = now
        self._seconds = seconds
        self._open: dict[tuple[int, int], Captions] = {}
        self._words: dict[tuple[int, int], int] = {}
        self._chunks: dict[int, int] = {}  # samples: sums of 0.16 s miss their own multiples
        self._covered: dict[int, int] = {}
        self._moved = 0.0

    def note(self, message: Any) -> None:
        """Takes one message of the server."""
        now, heard = self._now(), self._heard
        match message:
            case wire.Partial(track=track, utterance=utterance, text=text):
                captions = self._open.setdefault((track, utterance), [])
                if not captions or captions[-1][1] != text:
                    captions.append((now, text))
                    self._count(track, utterance, text, now, message.revision)
                self._cover(track, message.revision, now)
            case wire.Final(track=track, utterance=utterance, text=text):
                captions = [*self._open.pop((track, utterance), []), (now, text)]
                heard.finals.append((message, captions))
                if message.words:
                    self._ended(message, captions, now)
                    self._count(track, utterance, text, now, message.words[-1].end)
            case wire.Progress(tracks=tracks):
                for each in tracks:
                    self._cover(each.track, each.decoder, now)
                behind = [each.decoder for each in tracks if each.received > each.decoder]
                if behind and now <= self._seconds:
                    heard.lag.append((now, now - min(behind) / SAMPLE_RATE))
            case wire.Latency() if now >= heard.since:
                for name, milliseconds in message.steps.model_dump().items():
                    heard.steps.setdefault(name, []).append(milliseconds / 1000)
            case wire.Ended():
                heard.ended = message
            case wire.Error(code="at_capacity" as code):
                heard.refused = code
            case _:
                pass

    def woke(self, late_s: float) -> None:
        """The sender woke for a chunk so much later than it was due."""
        self._heard.late.append(late_s)

    def _ended(self, final: wire.Final, captions: Captions, now: float) -> None:
        if final.words[-1].end / SAMPLE_RATE >= self._heard.since:
            self._heard.final.append(now - final.words[-1].end / SAMPLE_RATE)
        begin = final.words[0].begin / SAMPLE_RATE
        if begin >= self._heard.since:
            self._heard.first_partial.append(next(at for at, text in captions if text) - begin)

    def _count(self, track: int, utterance: int, text: str, at: float, heard_to: int) -> None:
        more = len(text.split()) - self._words.get((track, utterance), 0)
        self._words[track, utterance] = len(text.split())
        self._heard.shown.setdefault(track, []).append(Shown(at, heard_to / SAMPLE_RATE, more))

    def _cover(self, track: int, position: int, now: float) -> None:
        if position <= self._covered.get(track, 0):
            return
        self._covered[track] = position
        chunk = CHUNK_MS * SAMPLE_RATE // 1000
        while self._chunks.get(track, 0) + chunk <= position:
            self._chunks[track] = self._chunks.get(track, 0) + chunk
            second = self._chunks[track] / SAMPLE_RATE
            self._heard.covered.setdefault(track, []).append((second, now - second))
        if self._moved and now <= self._seconds:
            self._heard.pause = max(self._heard.pause, now - self._moved)
        self._moved = now


async def call(
    url: str,
    voices: Sequence[Voice],
    delay_s: float,
    *,
    since_s: float = 0.0,
    cuts_s: Sequence[float] = (),
    second_pass: str | None = None,
) -> Heard:
    """One call of several tracks at real pace.

    Args:
        url: ``ws://host:port/v1/stream``.
        voices: of its tracks.
        delay_s: seconds from now until it begins.
        since_s: second of the call from which on it is measured.
        cuts_s: seconds of the call at which its socket is cut.
        second_pass: asked for; None for what is served.
    """
    heard = Heard(since=since_s)
    loop = asyncio.get_running_loop()
    await asyncio.sleep(delay_s)
    began = loop.time()
    seconds = max(voice.length / voice.sample_rate for voice in voices)
    listener = Listener(heard, lambda: loop.time() - began, seconds)
    start = wire.Start(
        tracks=tuple(
            wire.TrackRequest(name=f"track {number}", sample_rate=voice.sample_rate)
            for number, voice in enumerate(voices)
        ),
        second_pass=second_pass,
    )
    try:
        async with Stream(url, start, listener.note, give_up_s=GIVE_UP_S) as stream:
            for cut_s in cuts_s:
                loop.call_at(began + cut_s, stream.cut)
            for step in range(chunks(voices)):
                if heard.refused:
                    return heard
                due = began + (step + 1) * CHUNK_MS / 1000
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                    listener.woke(loop.time() - due)
                for track, voice in enumerate(voices):
                    size = voice.sample_rate * CHUNK_MS // 1000
                    await stream.say(track, voice.spoken(step * size, (step + 1) * size))
            await stream.finish()
    except ClientError as error:
        heard.refused = error.code
    else:
        heard.resumes = stream.resumes
    return heard


def chunks(voices: Sequence[Voice]) -> int:
    """Of how many chunks a call is until all is said; in whole samples, for 32.16 s are not quite 201 of 0.16."""
    return max(-(-voice.length // (voice.sample_rate * CHUNK_MS // 1000)) for voice in voices)


async def calls(url: str, count: int, sounds: Sequence[Sequence[bytes]]) -> list[Heard]:
    """Several calls, spread over one chunk so that they do not all speak at the same instant."""
    heard = await asyncio.gather(
        *(
            call(url, [Recorded(pcm) for pcm in sounds[number % len(sounds)]], number * CHUNK_MS / 1000 / count)
            for number in range(count)
        )
    )
    for one in heard:
        one.find_words()
    return heard


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; NaN where there is nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
