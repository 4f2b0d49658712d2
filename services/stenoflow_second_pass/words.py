"""The words of a reading: plain, with times from the first pass's emissions and a confidence.

A model of the Whisper kind says what was said, not when. Its plain words are aligned against the emissions of the
first pass, which heard the same sound with frames of 20 ms. Where there is no path (no emissions are left, or far more
letters than frames), words share the utterance by their letters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.alignment.words import timed_words
from stenoflow.protocol.messages import Word


def words_of(
    plain: Sequence[str],
    log_prob: float,
    emissions: tuple[NDArray[np.int64], NDArray[np.float32], int],
    vocabulary: Vocabulary,
    bounds: tuple[int, int],
) -> tuple[Word, ...]:
    """Times and confidences of a reading's words.

    Args:
        plain: its plain words, at least one.
        log_prob: its mean natural-log probability a token.
        emissions: positions, log-probabilities and hop of the first pass's frames.
        vocabulary: their tokens.
        bounds: of the utterance, 16 kHz samples; words without emissions are spread over it.

    Returns:
        one a word; begins and ends ascend and lie in ``bounds``.
    """
    positions, log_probs, hop = emissions
    text = " ".join(plain)
    sure = math.exp(min(0.0, log_prob))
    begin, end = bounds
    if len(positions):
        timed = timed_words(text, log_probs, positions, hop, vocabulary)
        if timed:
            return tuple(
                Word(
                    word=word.text,
                    begin=min(max(word.begin, begin), end),
                    end=min(max(word.end, begin), end),
                    # Wrong only if both are: the model as a whole, and the first pass at this word.
                    confidence=round(1.0 - (1.0 - sure) * (1.0 - word.confidence), 4),
                )
                for word in timed
            )
    letters = np.cumsum([0, *(len(word) + 1 for word in plain)])
    edges = begin + (letters * (end - begin) // letters[-1])
    return tuple(
        Word(word=word, begin=int(edges[at]), end=int(edges[at + 1]), confidence=round(sure, 4))
        for at, word in enumerate(plain)
    )
