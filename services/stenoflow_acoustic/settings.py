"""What the acoustic worker can be told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from stenoflow.runtime.settings import WorkerSettings
from stenoflow_acoustic.engine import Precision, TorchOptions


class AcousticSettings(WorkerSettings):
    """Settings of one acoustic worker, ``STENOFLOW_ACOUSTIC_*``. Without ``places`` it measures what it can carry."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="STENOFLOW_ACOUSTIC_")

    bundle: str = Field(default="en-small", min_length=1)
    """Name or folder of the model; the name is the bundle that ships."""

    preset: Literal["fast", "balanced", "accurate"] | None = None
    """Of a windowed bundle, how much each window hears and how often; the bundle's own where not given."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; ``auto`` is the GPU where there is one and the model gains by it. Nothing falls back."""

    engine: Literal["auto", "onnx", "torch"] = "auto"
    """What runs a stateful bundle; ``auto``: torch where the device is ``cuda`` and the layout our own, else ONNX
    Runtime."""

    precision: Precision | None = None
    """Of torch's products: ``bf16``, ``fp16`` or ``float32``; not given: ``bf16`` on a GPU, ``float32`` on a CPU."""

    largest_batch: int = Field(default=256, ge=1, le=4096)
    """Tracks in one run of torch, a power of two: a step of more tracks is several runs."""

    cuda_graphs: bool = True
    """Whether torch records its runs on a GPU; without, each run starts some hundred kernels one by one."""

    @model_validator(mode="after")
    def _power_of_two(self) -> Self:
        if self.largest_batch & (self.largest_batch - 1):
            raise ValueError(f"largest_batch {self.largest_batch} is no power of two: take 1, 2, 4, 8, ...")
        return self

    def torch_options(self, layout: str) -> TorchOptions | None:
        """How torch is to serve a stateful bundle of a layout; None: ONNX Runtime does."""
        if self.engine == "onnx" or (self.engine == "auto" and (self.device != "cuda" or layout != "stenoflow")):
            return None
        return TorchOptions(self.precision, self.largest_batch, self.cuda_graphs)
