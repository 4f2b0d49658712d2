"""The features worker as a process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from stenoflow.bus.records import Stages
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow_features.detector import Detector
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_features.settings import FeaturesSettings
from stenoflow_features.stage import FeaturesStage

PLACES = 120
"""Tracks of one process: about 5 ms of a core a track and second, measured, so that half of the core is left."""


def compose(settings: FeaturesSettings, registry: CollectorRegistry, features: str = "") -> Worker:
    """The stage with its detector loaded; ``features``: see :class:`FeaturesStage`."""
    metrics = FeaturesMetrics(registry)
    detector = Detector(settings.vad_path, metrics)
    return Worker(FeaturesStage(detector, settings.trailing_silence_ms, metrics, features), PLACES)


def main() -> int:
    """Entry point of the console script ``stenoflow-features``."""
    description = (
        "Turns the sound of calls into features of speech segments, of the kind that each call's bundle asks for."
    )
    return process.main(Stages.FEATURES, FeaturesSettings, compose, description)


if __name__ == "__main__":
    raise SystemExit(main())
