"""The port to a model that reads an utterance as a whole, and what it gives back.

Here lives what the second pass may ask of any model. Here never lives a decision: whether a reading is believed is
the guard's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model makes of one utterance.

    Args:
        text: cased, punctuated, stripped; "" where the model heard no words.
        log_prob: mean natural-log probability a token, 0 at most. The end token counts as one, so a text that breaks
            off where the model would have gone on pays for it.
        tokens: how many tokens were decoded, without the end token.
        finished: False where decoding hit its token limit (a sign of invention).
    """

    text: str
    log_prob: float
    tokens: int
    finished: bool


class SpeechModel(Protocol):
    """A warm model without state: the same utterances and prompts give the same readings. Not for two threads."""

    @property
    def name(self) -> str:
        """For logs and captions: ``whisper-tiny.en``, ``moonshine-tiny-en``."""
        ...

    @property
    def batch(self) -> int:
        """Utterances that are best given at once; 1 on a CPU."""
        ...

    @property
    def summary(self) -> str:
        """One line for the log: device, precision."""
        ...

    def read(self, utterances: Sequence[NDArray[np.float32]], prompts: Sequence[str]) -> Sequence[Reading]:
        """Reads utterances, each by itself: a reading depends on no neighbour.

        Decoding is greedy: temperature 0, no fallback, no sampling.

        Args:
            utterances: (N,) each, mono, 16 kHz, float32 in [-1, 1], 30 s at most; not changed.
            prompts: one an utterance: phrases that the speaker may say, "" for none. A model that cannot be prompted
                ignores them.

        Returns:
            one reading an utterance, in order.
        """
        ...
