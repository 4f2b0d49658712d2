"""The second-pass worker as a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.base.clock import SystemClock
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow_second_pass.capacity import measure
from stenoflow_second_pass.metrics import SecondPassMetrics
from stenoflow_second_pass.models.choice import load_model
from stenoflow_second_pass.settings import SecondPassSettings
from stenoflow_second_pass.stage import SecondPassStage


def compose(settings: SecondPassSettings, registry: CollectorRegistry) -> Worker:
    """The stage with its model loaded, warm and measured."""
    model = load_model(settings.model, settings.device)
    tokens = load_bundle(find_bundle(settings.bundle)).card.tokens
    vocabulary = Vocabulary.of(tokens.symbols, tokens.blank, tokens.separator, tokens.hidden)
    stage = SecondPassStage(model, vocabulary, SecondPassMetrics(registry))
    capacity = measure(model, SystemClock())
    summary = f"{model.summary}: 5 s in {capacity.utterance_ms:.0f} ms, so it carries {capacity.tracks}"
    return Worker(
        stage,
        capacity.tracks,
        model.name,
        summary,
        claims=model.name,
        looks_back=(stage, settings.budget_ms / 1000),
    )


def main() -> int:
    """Entry point of the console script ``stenoflow-second-pass``."""
    description = "Hears each utterance again as a whole, with a larger model, once it has ended."
    return process.main(Stages.SECOND_PASS, SecondPassSettings, compose, description)


if __name__ == "__main__":
    raise SystemExit(main())
