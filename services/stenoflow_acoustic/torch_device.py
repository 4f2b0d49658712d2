"""Which device torch runs on."""

from __future__ import annotations

import torch

from stenoflow.base.errors import ConfigError
from stenoflow_acoustic.engine import Device


def torch_device(wanted: Device) -> str:
    """``cuda`` or ``cpu``, as asked for and there; ``auto`` is the GPU where torch sees one.

    Raises:
        ConfigError: ``cuda`` was asked for and is missing.
    """
    gpu = wanted != "cpu" and torch.cuda.is_available()
    if wanted == "cuda" and not gpu:
        raise ConfigError(
            "device_missing", "device cuda was asked for, but torch sees none: set STENOFLOW_ACOUSTIC_DEVICE=cpu"
        )
    if not gpu:
        torch.set_num_threads(1)  # one thread a process, processes as many as cores
    return "cuda" if gpu else "cpu"
