"""What workers count beside their steps."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from stenoflow.runtime.metrics import PEAK_S, Peak, WorkerMetrics, new_registry


def test_a_peak_outlives_a_scrape_interval_and_is_forgotten() -> None:
    now = 0.0
    peak = Peak(lambda: now)
    peak.note(3.0)
    peak.note(1.0)
    now = PEAK_S
    assert peak.value() == 3.0
    peak.note(0.5)
    now = 2 * PEAK_S
    assert peak.value() == 0.5
    now = 4 * PEAK_S
    assert peak.value() == 0.0


def test_the_lag_of_a_stage_is_the_age_of_its_newest_sound_when_the_step_ends() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics("acoustic", registry)
    stamps = [{"received": 1000, "features.begin": 1100, "features.end": 1200}, {}]
    metrics.step(2, 0.25, 1500, stamps)
    assert registry.get_sample_value("stenoflow_stage_lag_seconds", {"stage": "acoustic"}) == pytest.approx(0.75)
    assert registry.get_sample_value("stenoflow_stage_queue_seconds_sum", {"stage": "acoustic"}) == pytest.approx(0.3)


def test_each_process_tells_what_it_costs() -> None:
    assert new_registry().get_sample_value("process_cpu_seconds_total") is not None
