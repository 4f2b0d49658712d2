"""The second-pass stage: drafts and the sound behind them in, finals out (DESIGN 6a).

A final covers exactly what its draft covers, keeps its number and passes its marks on; so finals tile as drafts do, and
a fresh worker goes on at the end of the last final. What the model makes of an utterance is believed only where the
guard finds nothing wrong with it; else, and where the runtime gave no sound with a draft, the draft itself is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.viterbi import align
from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.bus.entry import Entry, Kind, MarkKind
from stenoflow.protocol.messages import Final
from stenoflow.runtime.drafts import configured_in, final_entry, text_of, unheard
from stenoflow.runtime.look_back import MARGIN, Stretch
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow.text.plain import plain_words
from stenoflow_second_pass.guard import refusal
from stenoflow_second_pass.metrics import SecondPassMetrics
from stenoflow_second_pass.models.base import Reading, SpeechModel
from stenoflow_second_pass.sound import emissions_of, sound_of
from stenoflow_second_pass.words import words_of


@dataclass(slots=True)
class SecondPassState:
    """One track in the second pass.

    Args:
        track: whose.
        position: all before it is final, 16 kHz samples.
        over: the ``end`` mark is through.
    """

    track: Track
    position: int
    over: bool


@dataclass(frozen=True, slots=True)
class _Utterance:
    """A draft to be heard again: its sound, float32 (N,), and its part of the emissions."""

    state: SecondPassState
    draft: Entry
    sound: NDArray[np.float32]
    emissions: tuple[NDArray[np.int64], NDArray[np.float32], int]


class SecondPassStage:
    """Implements :class:`stenoflow.runtime.stage.Stage` and :class:`stenoflow.runtime.look_back.LooksBack`.

    Args:
        model: hears utterances; warm.
        vocabulary: of the first pass's emissions.
        metrics: counted into.
    """

    def __init__(self, model: SpeechModel, vocabulary: Vocabulary, metrics: SecondPassMetrics | None = None) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._metrics = metrics or SecondPassMetrics()
        self.at_once = model.batch
        # Compiles it, so that the first utterance does not wait for a compiler.
        frame = np.zeros((1, len(vocabulary.symbols)), np.float32)
        align(frame, np.zeros(1, np.int32), vocabulary.blank, vocabulary.separator)

    def wants(self, entry: Entry) -> Stretch | None:
        """Where the words of a draft were said: its part of the segment, from a little before where that begins.

        Not beyond the draft's end: how much of what follows is in the log depends on when one looks. (Quiet as long
        as the detector's hang-over is in it already.) Nor from before a segment that begins with its draft: behind a
        forced cut people speak on, and the last word of the draft before would be heard again.
        """
        if entry.kind is not Kind.FINAL or not text_of(entry):
            return None
        begins = [mark.at for mark in entry.marks if mark.kind is MarkKind.SEGMENT_BEGIN]
        in_silence = bool(begins) and begins[0] > entry.begin
        return Stretch(max(0, begins[0] - MARGIN) if in_silence else entry.begin, entry.end)

    def open(self, track: Track, at: ResumeFrom) -> SecondPassState:
        """A track from its last final on."""
        return SecondPassState(track, at.written, at.tail.ends)

    def step(self, batch: Sequence[tuple[SecondPassState, Sequence[Entry]]]) -> Sequence[Step]:
        """Makes drafts final; each one's sound and emissions come before it, where it is to be heard."""
        heard = {id(each.draft): each for state, entries in batch for each in self._utterances(state, entries)}
        readings = self._model.read([each.sound for each in heard.values()], [_prompt(each) for each in heard.values()])
        read = dict(zip(heard, readings, strict=True))
        steps: list[Step] = []
        for state, entries in batch:
            finals: list[Entry] = []
            for entry in entries:
                if entry.kind is not Kind.FINAL or state.over:
                    continue
                assert entry.track == state.track.key, f"news of {entry.track} for {state.track.key}"
                utterance = heard.get(id(entry))
                if utterance is not None:
                    finals.append(self._final(utterance, read[id(entry)]))
                else:
                    finals.append(unheard(entry))
                    if text_of(entry):
                        self._metrics.utterances("unheard").inc()
                state.position = entry.end
                state.over = entry.ends
            steps.append(Step(entries=tuple(finals), restart=state.position, position=state.position))
        return steps

    def close(self, state: SecondPassState) -> None:
        """Nothing is held outside the state."""

    def _utterances(self, state: SecondPassState, entries: Sequence[Entry]) -> list[_Utterance]:
        found: list[_Utterance] = []
        before: list[Entry] = []
        for entry in entries:
            if entry.kind is not Kind.FINAL:
                before.append(entry)
                continue
            stretch = self.wants(entry) if before else None
            if stretch is not None:
                audio = [each for each in before if each.kind is Kind.AUDIO]
                sound = sound_of(audio, stretch, state.track.sample_rate)
                if sound is not None:
                    emissions = [each for each in before if each.kind is Kind.EMISSIONS]
                    of_first_pass = emissions_of(emissions, stretch, len(self._vocabulary.symbols))
                    found.append(_Utterance(state, entry, sound, of_first_pass))
            before = []
        return found

    def _final(self, utterance: _Utterance, reading: Reading) -> Entry:
        draft = Final.model_validate_json(utterance.draft.data)
        reason = refusal(reading, draft.text, len(utterance.sound) / 16_000)
        self._metrics.utterances("heard" if reason is None else reason.value).inc()
        if reason is not None:
            return final_entry(utterance.draft, utterance.draft.data)
        words = words_of(
            plain_words(reading.text),
            reading.log_prob,
            utterance.emissions,
            self._vocabulary,
            (draft.begin, draft.end),
        )
        letters = sum(len(word.word) for word in words)
        confidence = sum(word.confidence * len(word.word) for word in words) / letters
        final = draft.model_copy(
            update={
                "text": reading.text,
                "words": words,
                "alternatives": (),
                "confidence": round(confidence, 4),
                "pass_": 2,
            }
        )
        return final_entry(utterance.draft, final.model_dump_json().encode())


def _prompt(utterance: _Utterance) -> str:
    """The phrases that the session expects: those of its start, unless they were changed by the draft's end.

    One of weight 0 is made no likelier here either.
    """
    settings = {**utterance.state.track.settings, **configured_in(utterance.draft)}
    return ", ".join(each["phrase"] for each in settings.get("boost") or () if each.get("weight", 1.0) > 0)
