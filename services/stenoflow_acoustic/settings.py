"""What the acoustic worker can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stenoflow.runtime.settings import WorkerSettings


class AcousticSettings(WorkerSettings):
    """Settings of one acoustic worker, ``STENOFLOW_ACOUSTIC_*``. Without ``places`` it measures what it can carry."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="STENOFLOW_ACOUSTIC_")

    bundle: str = Field(default="en-small", min_length=1)
    """Name or folder of the model; the name is the bundle that ships."""

    preset: Literal["fast", "balanced", "accurate"] | None = None
    """Of a windowed bundle, how much each window hears and how often; the bundle's own where not given."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; ``auto`` is the GPU where there is one and the model gains by it. Nothing falls back."""
