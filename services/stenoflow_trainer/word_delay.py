"""How late words are shown, in time of the sound alone.

Of a word of the reference that the captions have right, the delay is from where it ends in the sound (forced alignment
of the reference) to the end of the chunk with which a caption showed it that no later one revised.  That is
the service's `word` latency without machine time, and with a word end that does not come from the captions.  A CTC
network places a letter as a peak somewhere within its sound: single ends are uncertain by the length of a letter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.alignment.words import timed_words
from stenoflow_trainer import data

HOP = data.STEP // 2
"""Samples of one frame of emissions, the teacher's and the bundle's."""
HISTOGRAM_MS = 80


@dataclass(frozen=True, slots=True)
class Alignment:
    """Finds where the words of a known text end.

    Args:
        name: whose emissions these are, for the report.
        listen: samples [N] to log-probabilities float32 [U, V], a frame every `HOP` samples.
        vocabulary: their tokens.
    """

    name: str
    listen: Callable[[data.Samples], npt.NDArray[np.float32]]
    vocabulary: Vocabulary

    def ends(self, text: str, samples: data.Samples) -> list[float]:
        """Seconds where each word of a plain text ends; empty where the frames are too few for it."""
        log_probs = self.listen(samples)
        positions = np.arange(len(log_probs), dtype=np.int64) * HOP
        words = timed_words(text, log_probs, positions, HOP, self.vocabulary)
        return [word.end / data.SAMPLE_RATE for word in words]


def by_teacher(model: Path) -> Alignment:
    """Aligns with the teacher, which hears the whole recording at once."""
    # Imported here: torch, which those who align with the bundle need not load for this.
    from stenoflow_trainer.batches import SYMBOLS
    from stenoflow_trainer.teacher import QuartzNet

    teacher = QuartzNet(model)

    def listen(samples: data.Samples) -> npt.NDArray[np.float32]:
        whole_steps = np.pad(samples, (0, -len(samples) % data.STEP))
        said = teacher([whole_steps])[0].log_probs
        assert said is not None, "a QuartzNet gives emissions"
        return said.reshape(-1, len(SYMBOLS) + 1)

    return Alignment(f"teacher {model.stem}", listen, Vocabulary((*SYMBOLS, ""), blank=len(SYMBOLS), separator=0))


def by_bundle(listen: Callable[[data.Samples], npt.NDArray[np.float32]], tokens: dict[str, Any]) -> Alignment:
    """Aligns with the very model that is measured: where it hears words late, they seem to end late.

    tokens: that part of the bundle's card.
    """
    vocabulary = Vocabulary.of(tokens["symbols"], tokens["blank"], tokens["separator"], tokens.get("hidden", ()))
    return Alignment("the bundle's own emissions", listen, vocabulary)


def summary(delays_ms: Sequence[float]) -> dict[str, int]:
    """Median and 95th percentile in ms, and the number of words; at least one."""
    median, p95 = np.percentile(delays_ms, [50, 95])
    return {"median": round(median), "p95": round(p95), "words": len(delays_ms)}


def histogram(delays_ms: Sequence[float]) -> list[tuple[int, int]]:
    """Where each bin of `HISTOGRAM_MS` begins, in ms, and how many words it holds; ascending, without gaps."""
    bins = np.floor(np.asarray(delays_ms) / HISTOGRAM_MS).astype(int)
    counts = np.bincount(bins - bins.min())
    return [(int(bins.min() + at) * HISTOGRAM_MS, int(count)) for at, count in enumerate(counts)]
