"""Another look at an utterance's readings once it has ended, by a language model that is too dear for every frame.

All readings descend from what is alive at the end, so they begin with every text that was promised as stable; choosing
another of them breaks no promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from stenoflow_decoder.language_model import LanguageModel
from stenoflow_decoder.search import Hypothesis

CANDIDATES = 10
"""So many readings are scored; those further down are hardly ever the right ones."""

CONTEXT_WORDS = 32
"""So many words before the utterance a scorer may see; they travel in each final's carry."""


class TextScorer(Protocol):
    """A language model that reads whole texts."""

    def score(self, texts: Sequence[str], before: Sequence[str]) -> Sequence[float]:
        """The natural-log probability of each text after the words ``before`` it; none: a beginning."""
        ...


class NgramScorer:
    """A bigger n-gram than the one in the search.

    Args:
        language_model: an n-gram over words.
    """

    def __init__(self, language_model: LanguageModel[Any]) -> None:
        self._model = language_model

    def score(self, texts: Sequence[str], before: Sequence[str]) -> list[float]:
        """As the port says."""
        reach = self._model.order - 1
        start = self._model.start(before[-reach:] if reach else ())
        return [self._score(start, text) for text in texts]

    def _score(self, state: Any, text: str) -> float:
        total = 0.0
        for word in text.split():
            state, score = self._model.score(state, word)
            total += score
        return total


@dataclass(frozen=True, slots=True)
class Rescorer:
    """Puts readings in another order.

    Args:
        scorer: reads whole texts.
        weight: of its natural logarithms, beside the reading's fused score.
    """

    scorer: TextScorer
    weight: float

    def ordered(self, readings: Sequence[Hypothesis], before: Sequence[str]) -> list[Hypothesis]:
        """The best readings with both scores added up, best first.

        Args:
            readings: of one utterance, best first.
            before: the words before it.
        """
        chosen = readings[:CANDIDATES]
        scores = self.scorer.score([reading.text for reading in chosen], before)
        rescored = [
            replace(reading, score=reading.score + self.weight * score)
            for reading, score in zip(chosen, scores, strict=True)
        ]
        return sorted(rescored, key=lambda reading: (-reading.score, reading.text))
