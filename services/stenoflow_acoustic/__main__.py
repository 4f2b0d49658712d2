"""The acoustic worker as a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from stenoflow.base.clock import SystemClock
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow_acoustic.accelerator import watch_accelerator
from stenoflow_acoustic.capacity import ready_engine
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_acoustic.stage import AcousticStage


def compose(settings: AcousticSettings, registry: CollectorRegistry) -> Worker:
    """The stage with its model verified, loaded, warm and measured."""
    metrics = AcousticMetrics(registry)
    bundle = load_bundle(find_bundle(settings.bundle))
    engine, capacity, summary = ready_engine(bundle, settings.device, settings.places, SystemClock())
    metrics.capacity.set(capacity.tracks)
    watch_accelerator(engine.device, registry)
    stage = AcousticStage(bundle.card, engine, metrics)
    details = {"look_ahead_ms": str(bundle.card.acoustic.look_ahead_ms)}
    return Worker(stage, capacity.tracks, str(bundle), summary, details)


def main() -> int:
    """Entry point of the console script ``stenoflow-acoustic``."""
    description = "Runs the acoustic model of a bundle over the features of many calls at once."
    return process.main(Stages.ACOUSTIC, AcousticSettings, compose, description)


if __name__ == "__main__":
    raise SystemExit(main())
