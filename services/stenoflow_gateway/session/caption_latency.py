"""How late the captions of one track are, by MEASURING's names, as far as a server can know it. Pure.

The clock is the sound's own. A chunk that ends at second S and arrives at time T was spoken at T or earlier, so the
earliest such offset of the last seconds says when each second was spoken. A queue on the way makes an offset later,
never earlier, and a slow server cannot move it at all. What is not in it: the way from the mouth to here at its best.
After a client that paused without sending, figures are too large until the offsets from before are forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Entry
from stenoflow_gateway.session.events import Measured

REMEMBERED_MS = 10_000
"""An offset counts for at least so long, and at most twice."""

OPEN_UTTERANCES = 8
"""Utterances whose final has not come; with a second pass drafts wait for theirs."""

DECIDED = "decoder.end"
"""The stamp of the step that ended an utterance."""

_OUTER = re.compile(r"^\W+|\W+$")


class _Word(msgspec.Struct):
    word: str
    begin: int = 0
    end: int = 0


class _Caption(msgspec.Struct):
    """What is needed of a partial and of a final. One without it is measured by less, and goes out."""

    utterance: int = 0
    text: str = ""
    words: list[_Word] = []


_read = msgspec.json.Decoder(_Caption).decode


@dataclass(slots=True)
class _Shown:
    """What captions of an open utterance show: its words, since when each with all before it as they are now."""

    first_ms: int | None = None
    words: list[str] = field(default_factory=list)
    since_ms: list[int] = field(default_factory=list)
    whole: bool = False

    def take(self, words: list[str], now_ms: int, *, whole: bool = False) -> tuple[int, int]:
        """Shows other words; returns how many are new, and how many are gone or changed.

        After a draft, which has all words, a correction leaves those behind it as they were, too.
        """
        head = _common(self.words, words)
        tail = _common(self.words[head:][::-1], words[head:][::-1]) if self.whole else 0
        new, gone = len(words) - head - tail, len(self.words) - head - tail
        self.since_ms = [*self.since_ms[:head], *[now_ms] * new, *self.since_ms[len(self.since_ms) - tail :]]
        self.words, self.whole = words, whole
        if words and self.first_ms is None:
            self.first_ms = now_ms
        return new, gone


@dataclass(slots=True)
class CaptionLatency:
    """One track's captions against its sound.

    Args:
        live: whether its sound comes at the pace of speech; of files there is nothing to tell.
    """

    live: bool = True
    _offsets: tuple[float, float] = (float("inf"), float("inf"))
    """The earliest offset of this turn and of the one before, milliseconds."""
    _turn: int = 0
    _from: int | None = None
    _open: dict[int, _Shown] = field(default_factory=dict)

    def heard(self, begin: int, end: int, received_ms: int) -> None:
        """Sound ``[begin, end)`` (16 kHz samples) has arrived."""
        turn = received_ms // REMEMBERED_MS
        newer, older = self._offsets
        if turn != self._turn:
            newer, older = float("inf"), newer if turn == self._turn + 1 else float("inf")
            self._turn = turn
        self._offsets = (min(newer, received_ms - end * 1000 / SAMPLE_RATE), older)
        self._from = begin if self._from is None else self._from

    def partial(self, entry: Entry, now_ms: int) -> Iterator[Measured]:
        """A partial goes to the client."""
        caption = _read(entry.data)
        yield from self._changes(caption.utterance, caption.text, now_ms)

    def draft(self, entry: Entry, now_ms: int) -> Iterator[Measured]:
        """An utterance has ended and goes to the client; the second pass will hear it again."""
        caption = _read(entry.data)
        yield from self._changes(caption.utterance, caption.text, now_ms, whole=True)
        yield from self._endpoint(entry, caption)

    def final(self, entry: Entry, now_ms: int) -> Iterator[Measured]:
        """A final goes to the client: only now the words' times are known."""
        caption = _read(entry.data)
        shown = self._open.pop(caption.utterance, _Shown())
        first_ms, was_draft = shown.first_ms, shown.whole
        new, gone = shown.take([_plain(word.word) for word in caption.words], now_ms, whole=True)
        if was_draft:
            yield Measured("corrected", gone)
        else:
            yield Measured("shown", new)
            yield Measured("changed", gone)
            yield from self._endpoint(entry, caption)
        if not self._can_tell(caption):
            return
        if first_ms is not None:
            yield Measured("first_partial", self._since(caption.words[0].begin, first_ms))
        for word, since_ms in zip(caption.words, shown.since_ms, strict=True):
            yield Measured("word", self._since(word.end, since_ms))
        yield Measured("final", self._since(caption.words[-1].end, now_ms))

    def _changes(self, utterance: int, text: str, now_ms: int, *, whole: bool = False) -> Iterator[Measured]:
        shown = self._open.setdefault(utterance, _Shown())
        while len(self._open) > OPEN_UTTERANCES:
            self._open.pop(next(iter(self._open)))
        words = [plain for token in text.split() if (plain := _plain(token))]
        new, gone = shown.take(words, now_ms, whole=whole)
        yield Measured("shown", new)
        yield Measured("changed", gone)

    def _endpoint(self, entry: Entry, caption: _Caption) -> Iterator[Measured]:
        if self._can_tell(caption) and DECIDED in entry.stamps:
            yield Measured("endpoint", self._since(caption.words[-1].end, entry.stamps[DECIDED]))

    def _can_tell(self, caption: _Caption) -> bool:
        """Whether all of it was heard here; its begin may have come by another socket."""
        heard_here = self._from is not None and bool(caption.words) and caption.words[0].begin >= self._from
        return self.live and heard_here and min(self._offsets) < float("inf")

    def _since(self, position: int, now_ms: int) -> float:
        """Seconds since a position was spoken."""
        return max(0.0, (now_ms - min(self._offsets)) / 1000 - position / SAMPLE_RATE)


def _plain(token: str) -> str:
    """A token without case and outer punctuation: these make no other word of it."""
    return _OUTER.sub("", token.lower().replace("’", "'"))


def _common(before: list[str], after: list[str]) -> int:
    """How many words two lists have in common at their beginning."""
    count = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        count += 1
    return count
