"""A model that answers by the sound it got, so that a test sees what was heard; and drafts to be heard again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind, Span
from stenoflow.protocol.messages import Final
from stenoflow.runtime.look_back import Stretch
from stenoflow_second_pass.models.base import Reading

KEY = TrackKey(SessionId("s00-0123456789abcdef"), 0, Epoch("e1"))
VOCABULARY = Vocabulary((" ", *"abcdefghijklmnopqrstuvwxyz", "'", "<blank>"), blank=28, separator=0)
HOP = 320


def said(sound: NDArray[np.float32]) -> str:
    """Words that name the sound: its length and its sum, in letters."""
    number = len(sound) * 7919 + round(float(sound.sum()) * 32768)
    letters = "".join(chr(97 + int(digit)) for digit in str(abs(number)))
    return f"Sound {letters}."


@dataclass
class FakeModel:
    """Implements :class:`stenoflow_second_pass.models.base.SpeechModel`."""

    answer: Callable[[NDArray[np.float32]], Reading] = lambda sound: Reading(said(sound), -0.1, 4, True)
    before: Callable[[], None] = lambda: None
    name: str = "fake"
    summary: str = "fake"
    batch: int = 1
    heard: list[NDArray[np.float32]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def read(self, utterances: Sequence[NDArray[np.float32]], prompts: Sequence[str]) -> Sequence[Reading]:
        if utterances:
            self.before()
        self.heard += utterances
        self.prompts += prompts
        return [self.answer(sound) for sound in utterances]


def audio(begin: int, end: int, key: TrackKey = KEY, rate: int = 16_000) -> Entry:
    """Sound whose samples name their position (client samples)."""
    samples = ((np.arange(begin, end) * 31) % 2000 - 1000).astype("<i2")
    return Entry(key, Kind.AUDIO, begin, end, (Span(begin, end),), 1, 2, samples.tobytes())


def emissions(begin: int, end: int, text: str, key: TrackKey = KEY) -> Entry:
    """Frames that say ``text``, a letter every fourth frame from ``begin`` on, blank between."""
    frames = (end - begin) // HOP
    log_probs = np.full((frames, 29), -9.0, np.float16)
    log_probs[:, VOCABULARY.blank] = -0.01
    for number, symbol in enumerate(text):
        at = 4 * number
        if at < frames:
            log_probs[at] = -9.0
            log_probs[at, VOCABULARY.symbols.index(symbol)] = -0.01
    return Entry(key, Kind.EMISSIONS, begin, end, (Span(begin, end),), HOP, 58, log_probs.tobytes())


def draft(
    begin: int, end: int, text: str, utterance: int = 0, *, key: TrackKey = KEY, marks: tuple[Mark, ...] = ()
) -> Entry:
    """What the decoder writes for an utterance."""
    final = Final(track=key.number, utterance=utterance, begin=begin, end=end, text=text, words=(), confidence=0.5)
    return Entry(key, Kind.FINAL, begin, end, data=final.model_dump_json().encode(), marks=marks, restart=end)


def over(at: int, key: TrackKey = KEY) -> Entry:
    """The draft that ends the track."""
    return draft(at, at, "", 99, key=key, marks=(Mark(MarkKind.END, at, "client", 7),))


def id_of(entry: Entry) -> EntryId:
    """The id of an entry that is the only one to end where it ends."""
    return END_ID if entry.ends else EntryId(entry.end, 1)


def stretch_sound(stretch: Stretch) -> NDArray[np.float32]:
    """What the model should hear of :func:`audio` at 16 kHz."""
    whole = np.frombuffer(audio(0, stretch.end).data, "<i2").astype(np.float32) / np.float32(32768.0)
    return whole[stretch.begin :]
