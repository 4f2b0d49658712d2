"""Keyword spotting: where phrases of a session were said, whatever the captions make of it.

A path through the tokens that spell a phrase, in whatever pieces, with blanks between them as CTC allows, against the
path of each frame's likeliest token, which is the filler: what the phrase loses to it, per token, makes the score.
After Fernández, Graves & Schmidhuber 2007, "An application of recurrent neural networks to discriminative keyword
spotting", and the token passing of Lengerich & Hannun 2016, "An end-to-end architecture for keyword spotting and voice
activity detection". A phrase begins and ends at the edge of a word: at a separator, or a piece that begins a word, or
where the utterance does.

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

NEAR = 2.3
"""Natural log: a word may begin or end where its edge is at least a tenth as likely as the likeliest token."""

NEVER = 1e9
"""The cost of a place that no path has reached."""


@dataclass(frozen=True, slots=True)
class SpotPhrases:
    """Phrases to be spotted; shared by all tracks that want the same, never changed.

    A phrase of n letters, with the edge before it and the spaces in it, has places 0 to n: what of it has been said. An
    arc leads from a place to a later one by a token that is spelled like what lies between. Arcs are in order of where
    they lead, so those that lead to a place are neighbours.

    Args:
        names: as the session gave them.
        thresholds: float64 (P,), scores from which on an occurrence is told.
        lengths: int32 (P,), the fewest tokens that spell each.
        first: int32 (P + 1,), each phrase's place 0; the last is N, the number of all places.
        arcs_to: int32 (N + 1,), the first arc that leads to each place; the last is A.
        tokens: int32 (A,), the token of each arc.
        sources: int32 (A,), the place that it leads from.
        blank: id of the CTC blank.
        separator: id of the token between words; ``NO_SEPARATOR`` where pieces have the edge of a word in them.
        edge: uint8 (V,), 1 for tokens that begin with the edge of a word.
    """

    names: tuple[str, ...]
    thresholds: NDArray[np.float64]
    lengths: NDArray[np.int32]
    first: NDArray[np.int32]
    arcs_to: NDArray[np.int32]
    tokens: NDArray[np.int32]
    sources: NDArray[np.int32]
    blank: int
    separator: int
    edge: NDArray[np.uint8]

    @classmethod
    def of(cls, thresholds: Iterable[tuple[str, float]], model: DecodingModel) -> SpotPhrases:
        """Spells phrases in the model's tokens; what cannot be spelled (digits) is left out.

        Args:
            thresholds: phrases as people write them, each with its threshold.
            model: tells tokens.
        """
        vocabulary, spelling = model.vocabulary, model.spelling
        by_text: dict[str, list[int]] = {}
        for token in range(len(vocabulary.symbols)):
            if text := spelling.text(token):
                by_text.setdefault(text, []).append(token)
        names: list[str] = []
        limits: list[float] = []
        lengths: list[int] = []
        first, arcs_to, tokens, sources = [0], [0], list[int](), list[int]()
        for name, limit in thresholds:
            plain = plain_phrase(name, model)
            arcs = _arcs(" " + plain, by_text, vocabulary.separator)
            length = _fewest(arcs)
            if not plain or length is None:
                continue
            for own in arcs:
                tokens += [token for _, token in own]
                sources += [first[-1] + source for source, _ in own]
                arcs_to.append(len(tokens))
            names.append(name)
            limits.append(limit)
            lengths.append(length)
            first.append(first[-1] + len(arcs))
        return cls(
            tuple(names),
            np.asarray(limits, np.float64),
            np.asarray(lengths, np.int32),
            np.asarray(first, np.int32),
            np.asarray(arcs_to, np.int32),
            np.asarray(tokens, np.int32),
            np.asarray(sources, np.int32),
            vocabulary.blank,
            vocabulary.separator,
            spelling.edge,
        )


def _arcs(text: str, by_text: dict[str, list[int]], separator: int) -> list[list[tuple[int, int]]]:
    """By place of a phrase, the arcs that lead there: from which place, by which token.

    The separator before it is no part of a phrase: it need not be the likeliest token there.
    """
    longest = max(map(len, by_text), default=0)
    arcs: list[list[tuple[int, int]]] = [[] for _ in range(len(text) + 1)]
    for end in range(1, len(text) + 1):
        for begin in range(max(0, end - longest), end):
            for token in by_text.get(text[begin:end], ()):
                if begin > 0 or token != separator:
                    arcs[end].append((begin, token))
    return arcs


def _fewest(arcs: list[list[tuple[int, int]]]) -> int | None:
    """How many tokens spell a phrase, at least; None where none do."""
    counts: list[int | None] = [0, 0] + [None] * (len(arcs) - 2)
    for place in range(2, len(arcs)):
        before = [count for source, _ in arcs[place] if (count := counts[source]) is not None]
        counts[place] = min(before) + 1 if before else None
    return counts[-1]


class Spotter:
    """All phrases over one utterance: feed it frames in order.

    Args:
        phrases: what to listen for.
    """

    def __init__(self, phrases: SpotPhrases) -> None:
        self._phrases = phrases
        arcs, places, count = len(phrases.tokens), int(phrases.first[-1]), len(phrases.names)
        # Of the best path that is in an arc's token, or in the blank at a place: what it lost, and where it began.
        self._costs, self._begun = np.full(arcs, NEVER), np.zeros(arcs, np.int64)
        self._blank_costs, self._blank_begun = np.full(places, NEVER), np.zeros(places, np.int64)
        # By phrase, where its last token ended: of the best path that is in it, and of that in the blank after it.
        self._ended = np.zeros((count, 2), np.int64)
        # At the edge of a word: at the separator, in the blank after it. An utterance begins as if after one.
        self._edge = np.asarray([NEVER, 0.0])
        self._last = np.full(1, phrases.blank)
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
            phrases.edge,
            phrases.first,
            phrases.arcs_to,
            phrases.tokens,
            phrases.sources,
            self._costs,
            self._begun,
            self._blank_costs,
            self._blank_begun,
            self._ended,
            self._edge,
            self._last,
        )
        return occurrences

    def finish(self) -> list[Occurrence]:
        """What is complete as the utterance ends, as if a word began; nothing may be heard after it."""
        return self._complete(np.zeros(0, np.float32)) if self._phrases.names else []

    def _complete(self, frame: NDArray[np.float32]) -> list[Occurrence]:
        phrases, fired = self._phrases, self._fired
        _complete(
            frame,
            phrases.edge,
            phrases.first,
            phrases.arcs_to,
            phrases.tokens,
            phrases.lengths,
            phrases.thresholds,
            self._costs,
            self._begun,
            self._blank_costs,
            self._blank_begun,
            self._ended,
            fired,
        )
        return [
            Occurrence(phrases.names[number], int(begin), int(end), round(float(score), 4))
            for number, (score, begin, end) in enumerate(fired)
            if score > 0.0
        ]


@compiled
def _complete(
    frame: NDArray[np.float32],
    edge: NDArray[np.uint8],
    first: NDArray[np.int32],
    arcs_to: NDArray[np.int32],
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int32],
    thresholds: NDArray[np.float64],
    costs: NDArray[np.float64],
    begun: NDArray[np.int64],
    blank_costs: NDArray[np.float64],
    blank_begun: NDArray[np.int64],
    ended: NDArray[np.int64],
    fired: NDArray[np.float64],
) -> None:
    """Fires the phrases that end before a frame that may be the edge of a word: score, begin, end; 0 where none did.

    No frame at all is the utterance's end, which is an edge for all. A piece that begins a word is none for a path that
    is in that piece: its next frame may be the same piece still.
    """
    fired[:, 0] = 0.0
    nearest, likely, other = -1, 0.0, 0.0
    if frame.size > 0:
        best = frame.max()
        likely, other = np.inf, np.inf
        for token in range(frame.size):
            if edge[token] == 0:
                continue
            behind = best - frame[token]
            if behind < likely:
                nearest, likely, other = token, behind, likely
            elif behind < other:
                other = behind
    if likely > NEAR:
        return
    for phrase in range(thresholds.size):
        last = first[phrase + 1] - 1
        side, cost, begin = 1, blank_costs[last], blank_begun[last]
        for arc in range(arcs_to[last], arcs_to[last + 1]):
            if costs[arc] <= cost and (tokens[arc] != nearest or other <= NEAR):
                side, cost, begin = 0, costs[arc], begun[arc]
        score = np.exp(-cost / lengths[phrase])
        if score >= thresholds[phrase]:
            fired[phrase, 0], fired[phrase, 1], fired[phrase, 2] = score, begin, ended[phrase, side]
            # What is said next is another occurrence.
            costs[arcs_to[first[phrase]] : arcs_to[last + 1]] = NEVER
            blank_costs[first[phrase] : last + 1] = NEVER


@compiled
def _advance(
    frame: NDArray[np.float32],
    at: int,
    until: int,
    blank: int,
    separator: int,
    edge: NDArray[np.uint8],
    first: NDArray[np.int32],
    arcs_to: NDArray[np.int32],
    tokens: NDArray[np.int32],
    sources: NDArray[np.int32],
    costs: NDArray[np.float64],
    begun: NDArray[np.int64],
    blank_costs: NDArray[np.float64],
    blank_begun: NDArray[np.int64],
    ended: NDArray[np.int64],
    word_edge: NDArray[np.float64],
    last_token: NDArray[np.int64],
) -> None:
    """One frame further: all keep the path that has lost least, and of equal ones the one that stays."""
    likeliest = np.int64(frame.argmax())
    best = np.float64(frame[likeliest])
    in_blank = best - frame[blank]
    begins = min(word_edge[0], word_edge[1])
    for phrase in range(first.size - 1):
        start, last = first[phrase], first[phrase + 1] - 1
        # From the end, so that what comes before is still the last frame's.
        for place in range(last, start, -1):
            in_blank_cost = blank_costs[place]
            for arc in range(arcs_to[place], arcs_to[place + 1]):
                cost, begin, token, source = costs[arc], begun[arc], tokens[arc], sources[arc]
                # *a + ε → *a ε
                if cost < in_blank_cost:
                    in_blank_cost, blank_begun[place] = cost, begin
                    if place == last:
                        ended[phrase, 1] = ended[phrase, 0]
                # *a + a → *a, *a ε + b → *ab, *a + b → *ab
                if source == start:
                    # A piece that begins a word may follow anything but itself, which would be the same piece still.
                    if token != last_token[0] and cost > 0.0:
                        cost, begin = 0.0, at
                else:
                    if source == start + 1 and begins < cost:
                        cost, begin = begins, at
                    if blank_costs[source] < cost:
                        cost, begin = blank_costs[source], blank_begun[source]
                    for earlier in range(arcs_to[source], arcs_to[source + 1]):
                        if costs[earlier] < cost and tokens[earlier] != token:
                            cost, begin = costs[earlier], begun[earlier]
                costs[arc], begun[arc] = min(cost + (best - frame[token]), NEVER), begin
            blank_costs[place] = min(in_blank_cost + in_blank, NEVER)
        ended[phrase, 0] = until
    word_edge[1] = min(min(word_edge[0], word_edge[1]) + in_blank, NEVER)
    word_edge[0] = 0.0 if separator >= 0 and best - frame[separator] <= NEAR else NEVER
    last_token[0] = likeliest
