"""A GPU's figures, from a double of NVIDIA's library; without one there are none."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from stenoflow_acoustic.accelerator import Accelerator, watch_accelerator


class NVMLError(Exception):
    pass


def nvml(*, counts_errors: bool = True) -> SimpleNamespace:
    def errors(device: int, kind: int, counter: int) -> int:
        if not counts_errors:
            raise NVMLError
        return 3

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=10 + device, total=80),
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=25),
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda device: 0x1 if device == 0 else 0x41,
        nvmlDeviceGetTotalEccErrors=errors,
    )


def test_each_gpu_tells_how_busy_full_held_back_and_faulty_it_is() -> None:
    registry = CollectorRegistry()
    registry.register(Accelerator(nvml()))

    def value(name: str, device: str) -> float | None:
        return registry.get_sample_value(f"stenoflow_accelerator_{name}", {"device": device})

    assert [value("busy_ratio", each) for each in "01"] == [0.25, 0.25]
    assert [value("memory_used_bytes", each) for each in "01"] == [10, 11]
    assert value("memory_bytes", "0") == 80
    assert [value("held_back", each) for each in "01"] == [0, 1], "an idle GPU is not held back"
    assert value("memory_errors_total", "1") == 3


def test_a_card_that_counts_no_errors_tells_none() -> None:
    registry = CollectorRegistry()
    registry.register(Accelerator(nvml(counts_errors=False)))
    assert registry.get_sample_value("stenoflow_accelerator_memory_errors_total", {"device": "0"}) is None
    assert registry.get_sample_value("stenoflow_accelerator_busy_ratio", {"device": "1"}) == 0.25


def test_without_a_gpu_or_its_library_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    assert not watch_accelerator("cpu", registry)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert not watch_accelerator("cuda", registry)
    away = SimpleNamespace(NVMLError=NVMLError, nvmlInit=_no_driver)
    monkeypatch.setitem(sys.modules, "pynvml", away)
    assert not watch_accelerator("cuda", registry)
    assert list(registry.collect()) == []


def _no_driver() -> None:
    raise NVMLError
