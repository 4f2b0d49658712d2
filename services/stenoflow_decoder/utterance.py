"""The open utterance: its beam, its frames, and the two counters that its end depends on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.words import TimedWord, timed_words
from stenoflow_decoder.endpoint import Progress
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch, Hypothesis


class OpenUtterance:
    """All that is known of an utterance from its begin to where the decoder is. Bounded by the length rule.

    Args:
        model: what decodes it.
        begin: where the one before ended.
        previous: the words before it.
        phrases: what the session expects.

    Attributes:
        position: all before it has been heard.
    """

    def __init__(self, model: DecodingModel, begin: int, previous: tuple[str, ...], phrases: Phrases) -> None:
        self._model = model
        self.begin = begin
        self.position = begin
        self.search = BeamSearch(model, previous, phrases)
        self._letters_until = begin
        self._frames: list[NDArray[np.float32]] = []
        self._positions: list[int] = []
        self._hop = 0

    def hear(self, frame: NDArray[np.float32], at: int, hop: int) -> None:
        """Takes the frame ``[at, at + hop)``.

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
