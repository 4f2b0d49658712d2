"""Whether a reading may replace its draft: models that hear whole utterances invent text over noise, and repeat it.

Whisper's known habits and the thresholds on length ratio and mean log-probability: Radford et al., "Robust Speech
Recognition via Large-Scale Weak Supervision" (2022), section 4.5; stock phrases: Koenecke et al., "Careless Whisper"
(2024). A refused reading costs little, for the draft stands.
"""

from __future__ import annotations

import zlib
from collections import Counter
from enum import StrEnum

from stenoflow.text.plain import plain_words
from stenoflow_second_pass.models.base import Reading

LEAST_LOG_PROB = -1.0
"""Mean natural-log probability a token, below which a reading is a guess."""

MOST_WORDS_PER_S = 6.5
"""Fast talkers reach five; a few words more are free, so that short answers pass."""

FREE_WORDS = 3

MOST_COMPRESSION = 2.4
"""Text that zlib shortens more than so is the same again and again."""

MOST_REPEATS = 4
"""So often in a row nobody says the same one to five words."""

STOCK = frozenset({
    "you", "thank you", "thank you very much", "thank you so much", "thanks", "thanks for watching",
    "thank you for watching", "thank you for listening", "please subscribe", "like and subscribe",
    "subscribe to my channel", "see you next time", "see you in the next video", "bye", "bye bye", "the end",
    "music", "applause", "laughter", "silence", "i'm sorry", "oh", "okay", "so", "um", "uh", "hmm", "mm",
})  # fmt: skip
"""What such models say when there is nothing to hear."""


class Refusal(StrEnum):
    """Why a draft stands; a label of the metric."""

    EMPTY = "empty"
    UNFINISHED = "unfinished"
    UNSURE = "unsure"
    TOO_MANY_WORDS = "too_many_words"
    REPEATED = "repeated"
    STOCK_PHRASE = "stock_phrase"


def refusal(reading: Reading, draft: str, seconds: float) -> Refusal | None:
    """Why a reading must not replace its draft; None where it may.

    Args:
        reading: what the model made of the utterance.
        draft: what the first pass made of it; plain words.
        seconds: of the sound that the model heard.
    """
    words = plain_words(reading.text)
    if not words:
        return Refusal.EMPTY
    if not reading.finished:
        return Refusal.UNFINISHED
    if not reading.log_prob >= LEAST_LOG_PROB:  # NaN is no certainty either
        return Refusal.UNSURE
    if len(words) > FREE_WORDS + MOST_WORDS_PER_S * seconds:
        return Refusal.TOO_MANY_WORDS
    if _repeats(words) >= MOST_REPEATS or _compression(" ".join(words)) > MOST_COMPRESSION:
        return Refusal.REPEATED
    if " ".join(words) in STOCK and not _alike(words, draft.split()):
        return Refusal.STOCK_PHRASE
    return None


def _repeats(words: list[str]) -> int:
    """How often in a row the most repeated stretch of one to five words stands."""
    most = 1
    for size in range(1, min(5, len(words) // 2) + 1):
        for begin in range(size):
            run = 1
            for at in range(begin + size, len(words) - size + 1, size):
                run = run + 1 if words[at : at + size] == words[at - size : at] else 1
                most = max(most, run)
    return most


def _compression(text: str) -> float:
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded))


def _alike(words: list[str], draft: list[str]) -> bool:
    """Whether the first pass heard something of it: a word, or half of its letters."""
    if set(words) & set(draft):
        return True
    letters, heard = Counter("".join(words)), Counter("".join(draft))
    return 2 * sum((letters & heard).values()) >= max(sum(letters.values()), sum(heard.values()))
