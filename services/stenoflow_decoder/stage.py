"""The decoder stage: emissions in; finals, and a partial for watchers, out (DESIGN 6).

A final's end is its entry's restart point: the beam starts anew there, from words, settings and number that its carry
holds. So a fresh worker that reads on from the last final makes the very same finals (DESIGN 2, sentence 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.words import confidence_of
from stenoflow.bus.entry import CLOSING_MARKS, Entry, Kind, Mark, MarkKind
from stenoflow.protocol.messages import Alternative, Final, Partial, Word
from stenoflow.runtime.drafts import CONFIGURED, configured_in
from stenoflow.runtime.emissions import frames_of
from stenoflow.runtime.spotted import Occurrence, spotted_mark
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow_decoder.endpoint import Reason, silence_left
from stenoflow_decoder.fusion import WordScores
from stenoflow_decoder.metrics import DecoderMetrics
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.rescoring import CONTEXT_WORDS, Rescorer
from stenoflow_decoder.session_settings import SessionSettings, SettingsReader
from stenoflow_decoder.stable_prefix import stable_characters
from stenoflow_decoder.utterance import OpenUtterance

WHO = "decoder"


@dataclass(slots=True)
class DecoderState:
    """One track in the decoder.

    Args:
        track: whose.
        number: of the open utterance; utterances without words do not count.
        previous: the last words that are final.
        configured: what marks have changed of the session's settings; every final's carry has it.
        settings: in force now.
        utterance: the open one.
        known: marks at the restart point that are in the output already.
        pending: marks that the next final's entry will pass on, those of spotted phrases among them.
        news: marks for watchers that came in this step.
        shown: text of the partial that watchers have, if the open utterance has one.
        over: the ``end`` mark is through.
    """

    track: Track
    number: int
    previous: tuple[str, ...]
    configured: dict[str, Any]
    settings: SessionSettings
    utterance: OpenUtterance
    known: frozenset[tuple[str, int, MarkKind]]
    pending: list[Mark] = field(default_factory=list)
    shown: str = ""
    over: bool = False
    news: list[Mark] = field(default_factory=list)


class DecoderStage:
    """Implements :class:`stenoflow.runtime.stage.Stage`.

    Args:
        model: the bundle's decoding model. All compiled functions are built before the constructor returns.
        metrics: counted into.
        rescorer: chooses among the readings of an utterance that has ended; the model should not recombine then.
    """

    def __init__(
        self, model: DecodingModel, metrics: DecoderMetrics | None = None, rescorer: Rescorer | None = None
    ) -> None:
        self.model = model
        self._metrics = metrics or DecoderMetrics()
        self._rescorer = rescorer
        # What language models can see of the past, but never less than a word or two for a bundle without one.
        self._reach = CONTEXT_WORDS if rescorer else max(1, model.language_model.order - 1)
        self._settings = SettingsReader(model)
        _warm_up(model, self._settings)

    def open(self, track: Track, at: ResumeFrom) -> DecoderState:
        """A track from its last final on; ``carry`` of the opening entry is empty and means a fresh track."""
        carry = at.tail.carry
        previous = tuple(carry.get("words", ()))
        configured = dict(configured_in(at.tail))
        settings = self._settings.read({**track.settings, **configured})
        return DecoderState(
            track=track,
            number=int(carry.get("utterance", 0)),
            previous=previous,
            configured=configured,
            settings=settings,
            utterance=OpenUtterance(self.model, at.written, previous, settings),
            known=frozenset(mark.identity for mark in at.marks_at_tail),
            over=at.tail.ends,
        )

    def step(self, batch: Sequence[tuple[DecoderState, Sequence[Entry]]]) -> Sequence[Step]:
        """Decodes the news of each track; see :class:`Step`."""
        return [self._advance(state, entries) for state, entries in batch]

    def close(self, state: DecoderState) -> None:
        """Nothing is held outside the state."""

    def _advance(self, state: DecoderState, entries: Sequence[Entry]) -> Step:
        finals: list[Entry] = []
        state.news.clear()
        heard = 0
        for entry in entries:
            assert entry.track == state.track.key, f"news of {entry.track} for {state.track.key}"
            if state.over:
                break
            positions, frames = frames_of(entry, len(self.model.vocabulary.symbols))
            heard += len(frames)
            done = 0
            for mark in entry.marks:
                # A frame that a mark cuts in two comes after it.
                before = int(np.searchsorted(positions + entry.hop, mark.at, side="right"))
                until = mark.at
                if before < len(positions) and mark.kind in (MarkKind.QUALITY, MarkKind.CONFIGURE):
                    # Nor is that frame passed over as silence: its begin is as far as one waits.
                    until = min(until, int(positions[before]))
                self._hear(state, positions[done:before], frames[done:before], entry.hop, until, finals)
                done = max(done, before)
                if mark.kind is MarkKind.QUALITY:
                    state.news.append(mark)
                self._obey(state, mark, finals)
            if not state.over:
                self._hear(state, positions[done:], frames[done:], entry.hop, entry.end, finals)
        self._metrics.frames.inc(heard)
        return Step(
            entries=tuple(finals),
            restart=state.utterance.begin,
            position=state.utterance.position,
            live=self._partial(state, heard > 0),
            live_marks=tuple(state.news),
        )

    def _hear(
        self,
        state: DecoderState,
        positions: NDArray[np.int64],
        frames: NDArray[np.float32],
        hop: int,
        until: int,
        finals: list[Entry],
    ) -> None:
        """Takes frames, and what no frame covers as silence, up to a position."""
        # A frame that the last final's end cut in two is left out: a fresh worker would not see it either.
        done = int(np.searchsorted(positions, state.utterance.position))
        while done < len(positions):
            self._wait(state, int(positions[done]), finals)
            taken, spotted = state.utterance.hear(frames[done:], positions[done:], hop)
            done += taken
            for at, occurrences in spotted:
                self._tell(state, at, occurrences)
            left, reason = silence_left(state.utterance.progress, state.settings.rules)
            if left <= 0:
                self._end_utterance(state, reason, finals)
        if until > state.utterance.position:
            self._wait(state, until, finals)

    def _wait(self, state: DecoderState, until: int, finals: list[Entry]) -> None:
        """Passes over silence; utterances end inside it exactly where the rules say."""
        while state.utterance.position < until:
            left, reason = silence_left(state.utterance.progress, state.settings.rules)
            step = min(until - state.utterance.position, max(0, left))
            state.utterance.wait(state.utterance.position + step)
            if left <= step:
                self._end_utterance(state, reason, finals)

    def _obey(self, state: DecoderState, mark: Mark, finals: list[Entry]) -> None:
        """Passes a mark on with the next final, after doing what it asks."""
        if mark.identity in state.known and mark.at <= state.utterance.begin:
            return
        state.pending.append(mark.moved(max(mark.at, state.utterance.begin)))
        match mark.kind:
            case MarkKind.CONFIGURE:
                state.configured = {**state.configured, **mark.fields}
                state.settings = self._settings.read({**state.track.settings, **state.configured})
                state.utterance.configure(state.settings)
            case MarkKind.SEGMENT_END:
                if state.utterance.position > state.utterance.begin:
                    self._end_utterance(state, Reason.MARK, finals)
            case kind if kind in CLOSING_MARKS:
                self._end_utterance(state, Reason.MARK, finals)
                state.over = kind is MarkKind.END

    def _tell(self, state: DecoderState, at: int, occurrences: Sequence[Occurrence], *, closing: bool = False) -> None:
        """Watchers hear of spotted phrases at once; the final's entry will have them for whoever missed that."""
        if occurrences:
            self._metrics.spotted.inc(len(occurrences))
            mark = spotted_mark(at, WHO, occurrences, closing=closing)
            state.pending.append(mark)
            state.news.append(mark)

    def _end_utterance(self, state: DecoderState, reason: Reason, finals: list[Entry]) -> None:
        """Makes the open utterance final, and starts the next one where it ends."""
        utterance = state.utterance
        self._tell(state, utterance.position, utterance.finish(), closing=True)
        begin, end = utterance.begin, utterance.position
        readings = utterance.readings()
        if self._rescorer is not None:
            readings = self._rescorer.ordered(readings, state.previous)
        best = readings[0]
        words = utterance.words(best)
        wanted = state.settings.alternatives if words else 0
        others = utterance.alternatives(best.text, readings)[:wanted] if wanted else []
        final = Final(
            track=state.track.key.number,
            utterance=state.number,
            begin=begin,
            end=end,
            text=best.text,
            words=tuple(
                Word(word=word.text, begin=word.begin, end=word.end, confidence=word.confidence) for word in words
            ),
            alternatives=tuple(Alternative(text=other.text, score=round(other.score, 3)) for other in others),
            confidence=confidence_of(words),
        )
        self._metrics.finals[reason].inc()
        if words:
            self._metrics.words.inc(len(words))
            for word in words:
                self._metrics.confidence.observe(word.confidence)
            state.number += 1
            state.previous = (*state.previous, *(word.text for word in words))[-self._reach :]
            state.shown = ""
        finals.append(
            Entry(
                track=state.track.key,
                kind=Kind.FINAL,
                begin=begin,
                end=end,
                data=final.model_dump_json().encode(),
                marks=tuple(state.pending),
                restart=end,
                carry=self._carry(state),
            )
        )
        state.pending.clear()
        state.utterance = OpenUtterance(self.model, end, state.previous, state.settings)

    def _carry(self, state: DecoderState) -> dict[str, Any]:
        """What a fresh worker adopts at the restart point; inverse in :meth:`open`."""
        return {
            "utterance": state.number,
            "words": list(state.previous),
            CONFIGURED: state.configured,
        }

    def _partial(self, state: DecoderState, heard: bool) -> bytes | None:
        """The open utterance for watchers, where there is news of it."""
        text = state.utterance.search.best_text
        if not state.settings.partials or (text == state.shown and not (text and heard)):
            return None
        state.shown = text
        self._metrics.partials.inc()
        partial = Partial(
            track=state.track.key.number,
            utterance=state.number,
            revision=state.utterance.position,
            begin=state.utterance.begin,
            end=state.utterance.position,
            text=text,
            stable=stable_characters(state.utterance.search, self.model.vocabulary),
        )
        return partial.model_dump_json().encode()


def _warm_up(model: DecodingModel, settings: SettingsReader) -> None:
    """Runs every compiled function once, so that the first caller does not wait for a compiler."""
    tokens = len(model.vocabulary.symbols)
    frames = np.full((6, tokens), -8.0, np.float32)
    spoken = [token for token in range(tokens) if model.spelling.text(token).strip()]
    for at, token in enumerate((spoken[0], model.vocabulary.separator, spoken[-1], model.vocabulary.blank)):
        frames[at, token] = -0.01
    phrase = {"phrase": model.spelling.text(spoken[0])}
    utterance = OpenUtterance(model, 0, (), settings.read({}))
    utterance.configure(settings.read({"boost": [phrase], "spot": [phrase]}))
    utterance.hear(frames, np.arange(len(frames)), 1)
    stable_characters(utterance.search, model.vocabulary)
    WordScores(model.language_model, model.lexicon.words, ()).grow()
    utterance.search.tree.sweep(utterance.search.beam, room=1)
    utterance.words(utterance.readings()[0])
