"""How busy the GPU is, by the USE method (utilisation, saturation, errors): asked of NVIDIA's library at each scrape.

The library comes with the driver, its bindings with the extra ``gpu``. Where one of them is missing there is no GPU to
tell of, and nothing is exported; no figure is made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

IDLE = 0x1
"""The one reason for low clocks that is none: there is nothing to do."""


class Accelerator(Collector):
    """All GPUs that this process sees.

    Args:
        nvml: the module ``pynvml``, initialised.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def describe(self) -> list[Metric]:
        """The families without values: the registry does not ask the GPU for their names."""
        return list(_families())

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client. What a GPU does not tell is left out."""
        nvml = self._nvml
        busy, used, size, held, errors = families = _families()
        for number in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(number)
            labels = [str(number)]
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            busy.add_metric(labels, nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
            used.add_metric(labels, memory.used)
            size.add_metric(labels, memory.total)
            try:
                held.add_metric(labels, float(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device) & ~IDLE != 0))
                errors.add_metric(labels, nvml.nvmlDeviceGetTotalEccErrors(device, 1, 0))
            except nvml.NVMLError:
                continue  # consumer cards count no memory errors
        yield from families


def watch_accelerator(device: str, registry: CollectorRegistry) -> bool:
    """Exports the GPU's figures where a model runs on one and NVIDIA's library is there; tells whether it does."""
    if device == "cpu":
        return False
    try:
        import pynvml
    except ImportError:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False  # no driver: the model runs on something that is not NVIDIA's
    registry.register(Accelerator(pynvml))
    return True


def _families() -> tuple[
    GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily
]:
    def gauge(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"stenoflow_accelerator_{name}", text, labels=["device"])

    return (
        gauge("busy_ratio", "Part of the last second in which the GPU worked, as its driver tells"),
        gauge("memory_used_bytes", "Memory of the GPU in use, by all processes"),
        gauge("memory_bytes", "Memory of the GPU"),
        gauge("held_back", "1 while heat or power holds the GPU's clocks down"),
        CounterMetricFamily(
            "stenoflow_accelerator_memory_errors", "Memory errors that could not be corrected", labels=["device"]
        ),
    )
