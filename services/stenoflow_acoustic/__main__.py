"""The acoustic worker as a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from stenoflow.base.clock import SystemClock
from stenoflow.bundle.card import WindowedCard, asked
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow_acoustic.accelerator import watch_accelerator
from stenoflow_acoustic.capacity import ready_engine, ready_windows
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_acoustic.stage import AcousticStage


def compose(settings: AcousticSettings, registry: CollectorRegistry) -> Worker:
    """The stage with its model verified, loaded, warm and measured."""
    metrics = AcousticMetrics(registry)
    bundle = load_bundle(find_bundle(settings.bundle))
    card, clock = bundle.card, SystemClock()
    if isinstance(card.acoustic, WindowedCard):
        model, geometry, capacity, summary = ready_windows(bundle, settings.preset, settings.device, clock)
        stage, device = AcousticStage.windowed(geometry, model, metrics), model.device
        wait_ms = geometry.wait_ms
    else:
        options = settings.torch_options(card.acoustic.layout)
        engine, capacity, summary = ready_engine(bundle, settings.device, settings.places, clock, options)
        stage, device = AcousticStage.stateful(card, engine, metrics), engine.device
        wait_ms = card.acoustic.wait_ms
    metrics.capacity.set(capacity.tracks)
    watch_accelerator(device, registry)
    details = {"look_ahead_ms": str(wait_ms), "features": asked(card.features)}
    return Worker(stage, capacity.tracks, str(bundle), summary, details, claims=card.name)


def main() -> int:
    """Entry point of the console script ``stenoflow-acoustic``."""
    description = "Runs the acoustic model of a bundle over the features of many calls at once."
    return process.main(Stages.ACOUSTIC, AcousticSettings, compose, description)


if __name__ == "__main__":
    raise SystemExit(main())
