"""What rescoring gains: word error rate of the first reading, of the chosen one, and of the best of the ten.

    python -m load_tests.emissions dev --out build/dev.npz
    python -m load_tests.emissions held_libri --out build/held_libri.npz
    python -m load_tests.bench_rescoring --tune build/dev.npz build/held_libri.npz --lm bigger.binary

The weight is chosen on the one archive and used on the others. Intervals are of 95 %, by drawing clips.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer

from load_tests.emissions import FRAME_S, Clip, read_clips
from load_tests.rungs import console, interval, progress, table
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow_decoder.language_model import load_language_model
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.rescoring import CANDIDATES, NgramScorer, Rescorer, TextScorer
from stenoflow_decoder.search import BeamSearch, Hypothesis

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Scores found before, so that each text is scored once for all weights. A :class:`TextScorer`."""

    scores: dict[str, float]

    def score(self, texts: Sequence[str], before: Sequence[str]) -> list[float]:
        """As the port says; what comes before is nothing here."""
        return [self.scores[text] for text in texts]


@dataclass(frozen=True, slots=True)
class Read:
    """The readings of a clip, and what a scorer says of them."""

    clip: Clip
    readings: tuple[Hypothesis, ...]
    scorer: Fixed

    def text(self, weight: float) -> str:
        """What is chosen."""
        return Rescorer(self.scorer, weight).ordered(self.readings, ())[0].text

    def best(self) -> str:
        """The reading that is least wrong: no choice among them can do better."""
        return min((one.text for one in self.readings), key=lambda text: jiwer.wer(self.clip.reference, text))


def read(model: DecodingModel, scorer: TextScorer, clip: Clip) -> tuple[Read, float]:
    """One clip's readings, and the seconds of processor time that scoring them took."""
    search = BeamSearch(model)
    search.push(clip.frames)
    readings = tuple(search.readings()[:CANDIDATES])
    texts = [reading.text for reading in readings]
    began = time.process_time()
    scores = dict(zip(texts, scorer.score(texts, ()), strict=True))
    return Read(clip, readings, Fixed(scores)), time.process_time() - began


def rate(found: Sequence[Read], texts: Sequence[str]) -> float:
    """Word error rate, per cent."""
    return 100 * float(jiwer.wer([one.clip.reference for one in found], list(texts)))


def chosen_weight(tuning: Sequence[Read]) -> float:
    """The weight with the fewest errors; of equal ones the least."""
    return min(WEIGHTS, key=lambda weight: (rate(tuning, [one.text(weight) for one in tuning]), weight))


def told(found: Sequence[Read], texts: Sequence[str]) -> str:
    """WER with its interval."""
    references = [one.clip.reference for one in found]
    low, high = interval([one.clip.name for one in found], references, texts)
    return f"{rate(found, texts):.1f} ({low:.1f} to {high:.1f})"


def scorer_of(options: argparse.Namespace, model: DecodingModel) -> TextScorer:
    """A bigger n-gram, or a causal language model of transformers."""
    if options.lm is not None:
        return NgramScorer(load_language_model(options.lm, model.lexicon.words))
    from stenoflow_decoder.causal_scorer import CausalScorer

    return CausalScorer(options.model)


def main() -> None:
    """Chooses the weight, measures and prints."""
    parser = argparse.ArgumentParser(
        "bench_rescoring", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("emissions", type=Path, nargs="+", help="archives that are measured")
    parser.add_argument("--tune", type=Path, required=True, help="archive that the weight is chosen on")
    parser.add_argument("--bundle", default="en-small")
    scorers = parser.add_mutually_exclusive_group(required=True)
    scorers.add_argument("--lm", type=Path, help="a bigger n-gram (ARPA or KenLM binary)")
    scorers.add_argument("--model", help="a causal language model of transformers: folder or name")
    options = parser.parse_args()
    model = DecodingModel.from_bundle(load_bundle(find_bundle(options.bundle)))
    # As the decoder does where it rescores: what recombines early has no ten readings left.
    model = replace(model, options=replace(model.options, recombine=False))
    scorer = scorer_of(options, model)
    rows = table(
        "Rescoring, WER %",
        *("set", "utterances", "first reading", "weight", "rescored", f"best of {CANDIDATES}", "scoring, ms a second"),
    )
    weight: float | None = None
    for path in (options.tune, *options.emissions):
        clips = read_clips(path)
        with progress() as bar:
            both = [read(model, scorer, clip) for clip in bar.track(clips, description=path.stem)]
        found, spent_s = [one for one, _ in both], sum(spent for _, spent in both)
        weight = chosen_weight(found) if weight is None else weight
        rows.add_row(
            path.stem,
            str(len(found)),
            told(found, [one.text(0.0) for one in found]),
            f"{weight:g}",
            told(found, [one.text(weight) for one in found]),
            told(found, [one.best() for one in found]),
            f"{1000 * spent_s / sum(len(clip.frames) * FRAME_S for clip in clips):.2f}",
        )
    console.print(rows)


if __name__ == "__main__":
    main()
