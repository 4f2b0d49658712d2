"""The decoder worker as a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow_decoder.causal_scorer import CausalScorer
from stenoflow_decoder.language_model import load_language_model
from stenoflow_decoder.metrics import DecoderMetrics
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.rescoring import NgramScorer, Rescorer, TextScorer
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_decoder.stage import DecoderStage

PLACES = 120
"""Tracks of one process: about 4 ms of a core a second of speech, so that half of the core is left."""


def compose(settings: DecoderSettings, registry: CollectorRegistry) -> Worker:
    """The stage with its bundle verified and all compiled functions built."""
    bundle = load_bundle(find_bundle(settings.bundle))
    model = DecodingModel.from_bundle(bundle, **settings.search_overrides)
    stage = DecoderStage(model, DecoderMetrics(registry), rescorer_of(settings, model))
    summary = f"beam {model.options.beam_width}, {len(model.lexicon.words)} words"
    return Worker(stage, PLACES, str(bundle), summary, claims=bundle.card.name)


def rescorer_of(settings: DecoderSettings, model: DecodingModel) -> Rescorer | None:
    """What the settings name to choose among readings, if anything.

    Raises:
        BundleError: the n-gram is missing or damaged.
        ConfigError: a library or the model is missing.
    """
    if settings.rescoring_lm is not None:
        scorer: TextScorer = NgramScorer(load_language_model(settings.rescoring_lm, model.lexicon.words))
    elif settings.rescoring_model is not None:
        scorer = CausalScorer(settings.rescoring_model)
    else:
        return None
    return Rescorer(scorer, settings.rescoring_weight)


def main() -> int:
    """Entry point of the console script ``stenoflow-decoder``."""
    description = "Makes captions of emissions: beam search with an n-gram, word times, endpoints."
    return process.main(Stages.DECODER, DecoderSettings, compose, description)


if __name__ == "__main__":
    raise SystemExit(main())
