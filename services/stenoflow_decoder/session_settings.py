"""What a session asks of the decoder, as it is in force now: from its ``start``, and every ``configure`` after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol.messages import SPOT_THRESHOLD, Endpointing
from stenoflow_decoder.endpoint import Rules
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.spotting import SpotPhrases

KEPT_PHRASES = 64
"""So many sessions' phrases that differ stay built; a hundred phrases are about 160 kB."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Settings of one track, ready for use.

    Args:
        rules: when utterances end.
        partials: whether watchers want partials.
        alternatives: other readings that go with a final, at most.
        phrases: that the session expects.
        lm_weight: factor on the model's weight of its language model.
        spots: phrases whose occurrences are told.
    """

    rules: Rules
    partials: bool
    alternatives: int
    phrases: Phrases
    lm_weight: float
    spots: SpotPhrases


class SettingsReader:
    """Makes settings of what a session's record and marks hold.

    Args:
        model: whose letters phrases are spelled in.
    """

    def __init__(self, model: DecodingModel) -> None:
        # Calls of one company expect the same phrases, and a worker that takes over opens many tracks at once.
        self._phrases_of = lru_cache(KEPT_PHRASES)(partial(Phrases.of, model=model))
        self._spots_of = lru_cache(KEPT_PHRASES)(partial(SpotPhrases.of, model=model))

    def read(self, settings: Mapping[str, Any]) -> SessionSettings:
        """The settings of one track; what is not named is as the protocol's defaults have it."""
        endpointing = Endpointing.model_validate(settings.get("endpointing") or {})
        boost, spot = settings.get("boost") or (), settings.get("spot") or ()
        return SessionSettings(
            rules=Rules(
                without_words=endpointing.silence_without_words_ms * SAMPLE_RATE // 1000,
                after_words=endpointing.silence_after_words_ms * SAMPLE_RATE // 1000,
                max_utterance=round(endpointing.max_utterance_s * SAMPLE_RATE),
            ),
            partials=bool(settings.get("partials", True)),
            alternatives=int(settings.get("alternatives") or 0),
            phrases=self._phrases_of(tuple((each["phrase"], each.get("weight", 1.0)) for each in boost)),
            lm_weight=float(settings.get("lm_weight", 1.0)),
            spots=self._spots_of(tuple((each["phrase"], each.get("threshold", SPOT_THRESHOLD)) for each in spot)),
        )
