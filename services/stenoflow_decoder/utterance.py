"""The open utterance: its beam, its frames, what is spotted in it, and the two counters that its end depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.words import TimedWord, timed_words
from stenoflow.runtime.spotted import Occurrence
from stenoflow_decoder.endpoint import PIECE_PAUSE, Progress, may_end, silence_left
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.search import BeamSearch, Hypothesis
from stenoflow_decoder.session_settings import SessionSettings
from stenoflow_decoder.spotting import Spotter


class OpenUtterance:
    """All that is known of an utterance from its begin to where the decoder is. Bounded by the length rule.

    Args:
        model: what decodes it.
        begin: where the one before ended.
        previous: the words before it.
        settings: what the session asks for.

    Attributes:
        position: all before it has been heard.
    """

    def __init__(self, model: DecodingModel, begin: int, previous: tuple[str, ...], settings: SessionSettings) -> None:
        self._model = model
        self._previous = previous
        self._settings = settings
        self.begin = begin
        self.position = begin
        self.search = BeamSearch(model, previous, settings.phrases, settings.lm_weight)
        self._spotter = Spotter(settings.spots)
        self._letters_until = begin
        self._frames: list[NDArray[np.float32]] = []
        self._positions: list[NDArray[np.int64]] = []
        self._hop = 0

    def configure(self, settings: SessionSettings) -> None:
        """Other settings from the next frame on; phrases to be spotted are listened for anew."""
        self.search.configure(settings.phrases, settings.lm_weight)
        if settings.spots is not self._settings.spots:
            self._spotter = Spotter(settings.spots)
        self._settings = settings

    def hear(
        self, frames: NDArray[np.float32], positions: NDArray[np.int64], hop: int
    ) -> tuple[int, list[tuple[int, list[Occurrence]]]]:
        """Takes frames until the rules end the utterance, or one is not next to the one before.

        Args:
            frames: float32 (N, V), natural-log probabilities; kept until the utterance ends. N is at least 1.
            positions: int64 (N,), where each begins, in order; what lies before the first is silence.
            hop: samples per frame.

        Returns:
            How many frames were taken, at least one, and what was spotted, with the end of the frame that told.
        """
        gaps = np.flatnonzero(np.diff(positions) != hop)
        count = int(gaps[0]) + 1 if gaps.size else len(positions)
        taken = self._search(frames[:count], positions[:count] + hop)
        spotted: list[tuple[int, list[Occurrence]]] = []
        if self._settings.spots.names:
            for frame, at in zip(frames[:taken], positions[:taken].tolist(), strict=True):
                if occurrences := self._spotter.hear(frame, at, hop):
                    spotted.append((at + hop, occurrences))
        self._frames.append(frames[:taken])
        self._positions.append(positions[:taken])
        self._hop = hop
        return taken, spotted

    def _search(self, frames: NDArray[np.float32], ends: NDArray[np.int64]) -> int:
        """Pushes frames until the rules end the utterance; how many."""
        vocabulary, likeliest = self._model.vocabulary, frames.argmax(axis=1)
        letters = (likeliest != vocabulary.blank) & (likeliest != vocabulary.separator)
        letters_until = np.maximum.accumulate(np.where(letters, ends, self._letters_until))
        # The beam is asked only where the counters alone do not say that the utterance goes on.
        stops = np.flatnonzero(may_end(ends - self.begin, ends - letters_until, self._settings.rules)).tolist()
        done = 0
        for stop in (*stops, len(frames) - 1):
            self.search.push(frames[done : stop + 1])
            done = stop + 1
            self.position, self._letters_until = int(ends[stop]), int(letters_until[stop])
            if silence_left(self.progress, self._settings.rules)[0] <= 0:
                break
        return done

    def finish(self) -> list[Occurrence]:
        """The phrases that are complete as the utterance ends here."""
        return self._spotter.finish()

    def wait(self, until: int) -> None:
        """Nothing was said until then."""
        assert until >= self.position, f"silence until {until}, but {self.position} has been heard"
        self.position = until

    @property
    def progress(self) -> Progress:
        """What the endpoint rules look at."""
        search, over_after = self.search, None
        if search.at_word_end:
            over_after = 0
        elif self._model.vocabulary.of_pieces and not search.is_empty:
            over_after = PIECE_PAUSE
        return Progress(
            elapsed=self.position - self.begin,
            silence=self.position - self._letters_until,
            has_words=not search.is_empty,
            word_over_after=over_after,
        )

    def readings(self) -> list[Hypothesis]:
        """What was said, best first."""
        return self.search.readings()

    def alternatives(self, text: str, readings: list[Hypothesis]) -> list[Hypothesis]:
        """What else may have been said, best first; scores are relative to the text's own.

        Args:
            text: the final's.
            readings: the beam's, best first.

        A beam that recombines has kept only what differs in the last words; then the utterance is heard again by one
        that does not, so that who asks for alternatives changes no caption.
        """
        if self.search.recombines and self._frames:
            readings = self._heard_again().readings()
        own = next((reading.score for reading in readings if reading.text == text), readings[0].score)
        return [replace(each, score=each.score - own) for each in readings if each.text != text]

    def _heard_again(self) -> BeamSearch:
        model, settings = self._model, self._settings
        model = replace(model, options=replace(model.options, recombine=False))
        search = BeamSearch(model, self._previous, settings.phrases, settings.lm_weight)
        for frames in self._frames:
            search.push(frames)
        return search

    def words(self, reading: Hypothesis) -> tuple[TimedWord, ...]:
        """The words of one of the readings, in the sound."""
        if not reading.text:
            return ()
        model, positions = self._model, np.concatenate(self._positions)
        tokens = np.asarray(reading.tokens, np.int32)
        frames = np.concatenate(self._frames)
        return timed_words(
            reading.text, frames, positions, self._hop, model.vocabulary, model.calibration, tokens=tokens
        )
