"""The open utterance: its beam, its frames, what is spotted in it, and the two counters that its end depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.words import TimedWord, timed_words
from stenoflow.runtime.spotted import Occurrence
from stenoflow_decoder.endpoint import Progress
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
        self._positions: list[int] = []
        self._hop = 0

    def configure(self, settings: SessionSettings) -> None:
        """Other settings from the next frame on; phrases to be spotted are listened for anew."""
        self.search.configure(settings.phrases, settings.lm_weight)
        if settings.spots is not self._settings.spots:
            self._spotter = Spotter(settings.spots)
        self._settings = settings

    def hear(self, frame: NDArray[np.float32], at: int, hop: int) -> list[Occurrence]:
        """Takes the frame ``[at, at + hop)``; gives the phrases that were spotted with it.

        Args:
            frame: float32 (V,), natural-log probabilities; kept until the utterance ends.
            at: where it begins; what lies between is silence.
            hop: samples per frame.
        """
        self.search.push(frame)
        self._frames.append(frame)
        self._positions.append(at)
        self._hop = hop
        self.position = at + hop
        vocabulary = self._model.vocabulary
        if int(frame.argmax()) not in (vocabulary.blank, vocabulary.separator):
            self._letters_until = self.position
        return self._spotter.hear(frame, at, hop)

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
        search = self.search
        return Progress(
            elapsed=self.position - self.begin,
            silence=self.position - self._letters_until,
            has_words=not search.is_empty,
            at_word_end=search.at_word_end,
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
        for frame in self._frames:
            search.push(frame)
        return search

    def words(self, reading: Hypothesis) -> tuple[TimedWord, ...]:
        """The words of one of the readings, in the sound."""
        if not reading.text:
            return ()
        positions = np.asarray(self._positions, np.int64)
        model = self._model
        tokens = np.asarray(reading.tokens, np.int32)
        frames = np.stack(self._frames)
        return timed_words(
            reading.text, frames, positions, self._hop, model.vocabulary, model.calibration, tokens=tokens
        )
