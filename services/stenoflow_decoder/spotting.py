"""Keyword spotting: where phrases of a session were said, whatever the captions make of it.

A path through a phrase's tokens, with blanks between them as CTC allows, against the path of each frame's likeliest
token, which is the filler: what the phrase loses to it, per letter, makes the score. After Fernández, Graves &
Schmidhuber 2007, "An application of recurrent neural networks to discriminative keyword spotting", and the token
passing of Lengerich & Hannun 2016, "An end-to-end architecture for keyword spotting and voice activity detection".
A phrase begins and ends at the edge of a word: at a separator, or where the utterance does.

No lexicon and no n-gram: words that nobody has heard of are found like others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow.runtime.spotted import Occurrence
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import plain_phrase

EDGE = 2.3
"""Natural log: a word may begin or end where the separator is at least a tenth as likely as the likeliest token."""

NEVER = 1e9
"""The cost of a place that no path has reached."""


@dataclass(frozen=True, slots=True)
class SpotPhrases:
    """Phrases to be spotted; shared by all tracks that want the same, never changed.

    Args:
        names: as the session gave them.
        thresholds: float64 (P,), scores from which on an occurrence is told.
        tokens: int32 (N,), the phrases' tokens, one phrase after the other.
        begins: int32 (P + 1,), where in ``tokens`` each begins; the last is N.
        blank: id of the CTC blank.
        separator: id of the token between words.
    """

    names: tuple[str, ...]
    thresholds: NDArray[np.float64]
    tokens: NDArray[np.int32]
    begins: NDArray[np.int32]
    blank: int
    separator: int

    @classmethod
    def of(cls, thresholds: Iterable[tuple[str, float]], model: DecodingModel) -> SpotPhrases:
        """Spells phrases in the model's letters; what cannot be spelled (digits) is left out.

        Args:
            thresholds: phrases as people write them, each with its threshold.
            model: tells letters.
        """
        vocabulary = model.vocabulary
        token_of = {symbol: token for token, symbol in enumerate(vocabulary.symbols)} | {" ": vocabulary.separator}
        spelled = [(name, limit, plain) for name, limit in thresholds if (plain := plain_phrase(name, model))]
        return cls(
            tuple(name for name, _, _ in spelled),
            np.asarray([limit for _, limit, _ in spelled], np.float64),
            np.asarray([token_of[letter] for _, _, plain in spelled for letter in plain], np.int32),
            np.cumsum([0, *(len(plain) for _, _, plain in spelled)], dtype=np.int32),
            vocabulary.blank,
            vocabulary.separator,
        )


class Spotter:
    """All phrases over one utterance: feed it frames in order.

    Args:
        phrases: what to listen for.
    """

    def __init__(self, phrases: SpotPhrases) -> None:
        self._phrases = phrases
        tokens, count = len(phrases.tokens), len(phrases.names)
        # By token, in it and in the blank after it: what the best path so far lost, and where it began.
        self._costs = np.full((tokens, 2), NEVER)
        self._begun = np.zeros((tokens, 2), np.int64)
        # By phrase, the same of its last token: where its last letter ended.
        self._ended = np.zeros((count, 2), np.int64)
        # At the edge of a word: at the separator, in the blank after it. An utterance begins as if after one.
        self._edge = np.asarray([NEVER, 0.0])
        self._fired = np.zeros((count, 3))

    def hear(self, frame: NDArray[np.float32], at: int, hop: int) -> list[Occurrence]:
        """Takes the frame ``[at, at + hop)``; gives what has been said before it.

        Args:
            frame: float32 (V,), natural-log probabilities.
            at: position of its begin.
            hop: samples per frame.
        """
        phrases = self._phrases
        if not phrases.names:
            return []
        occurrences = self._complete(frame)
        _advance(
            frame,
            at,
            at + hop,
            phrases.blank,
            phrases.separator,
            phrases.tokens,
            phrases.begins,
            self._costs,
            self._begun,
            self._ended,
            self._edge,
        )
        return occurrences

    def finish(self) -> list[Occurrence]:
        """What is complete as the utterance ends, as if a separator followed; nothing may be heard after it."""
        return self._complete(np.zeros(self._phrases.separator + 1, np.float32)) if self._phrases.names else []

    def _complete(self, frame: NDArray[np.float32]) -> list[Occurrence]:
        phrases, fired = self._phrases, self._fired
        _complete(
            frame, phrases.separator, phrases.begins, phrases.thresholds, self._costs, self._begun, self._ended, fired
        )
        return [
            Occurrence(phrases.names[number], int(begin), int(end), round(float(score), 4))
            for number, (score, begin, end) in enumerate(fired)
            if score > 0.0
        ]


@compiled
def _complete(
    frame: NDArray[np.float32],
    separator: int,
    begins: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    costs: NDArray[np.float64],
    begun: NDArray[np.int64],
    ended: NDArray[np.int64],
    fired: NDArray[np.float64],
) -> None:
    """Fires the phrases that end before a frame that may be the edge of a word: score, begin, end; 0 where none did."""
    fired[:, 0] = 0.0
    if frame.max() - frame[separator] > EDGE:
        return
    for phrase in range(thresholds.size):
        last = begins[phrase + 1] - 1
        side = 0 if costs[last, 0] <= costs[last, 1] else 1
        score = np.exp(-costs[last, side] / (last + 1 - begins[phrase]))
        if score >= thresholds[phrase]:
            fired[phrase, 0], fired[phrase, 1], fired[phrase, 2] = score, begun[last, side], ended[phrase, side]
            # What is said next is another occurrence.
            costs[begins[phrase] : last + 1] = NEVER


@compiled
def _advance(
    frame: NDArray[np.float32],
    at: int,
    until: int,
    blank: int,
    separator: int,
    tokens: NDArray[np.int32],
    begins: NDArray[np.int32],
    costs: NDArray[np.float64],
    begun: NDArray[np.int64],
    ended: NDArray[np.int64],
    edge: NDArray[np.float64],
) -> None:
    """One frame further: each place keeps the path that has lost least, and of equal ones the one that stays."""
    best = np.float64(frame.max())
    in_blank = best - frame[blank]
    for phrase in range(begins.size - 1):
        first, last = begins[phrase], begins[phrase + 1] - 1
        for place in range(last, first - 1, -1):  # from the end, so that what comes before is still the last frame's
            cost, begin = costs[place, 0], begun[place, 0]
            if place == last:
                if cost < costs[place, 1]:
                    ended[phrase, 1] = ended[phrase, 0]
                ended[phrase, 0] = until
            # *a + ε → *a ε
            if cost < costs[place, 1]:
                costs[place, 1], begun[place, 1] = cost, begin
            costs[place, 1] = min(costs[place, 1] + in_blank, NEVER)
            # *a + a → *a, *a ε + b → *ab, *a + b → *ab
            if place == first:
                before = min(edge[0], edge[1])
                if before < cost:
                    cost, begin = before, at
            else:
                if costs[place - 1, 1] < cost:
                    cost, begin = costs[place - 1, 1], begun[place - 1, 1]
                if tokens[place - 1] != tokens[place] and costs[place - 1, 0] < cost:
                    cost, begin = costs[place - 1, 0], begun[place - 1, 0]
            costs[place, 0] = min(cost + (best - frame[tokens[place]]), NEVER)
            begun[place, 0] = begin
    edge[1] = min(min(edge[0], edge[1]) + in_blank, NEVER)
    edge[0] = 0.0 if best - frame[separator] <= EDGE else NEVER
