"""What an operator may set for this service, beyond what every worker has."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stenoflow.runtime.settings import WorkerSettings
from stenoflow_features.segmenter import HANG_OVER_MS, HANG_OVER_MS_RANGE


class FeaturesSettings(WorkerSettings):
    """Environment variables ``STENOFLOW_FEATURES_<NAME>``, read once, in ``__main__``."""

    model_config = SettingsConfigDict(env_prefix="STENOFLOW_FEATURES_", frozen=True, extra="ignore")

    trailing_silence_ms: int = Field(
        default=HANG_OVER_MS,
        ge=HANG_OVER_MS_RANGE[0],
        le=HANG_OVER_MS_RANGE[1],
        description="Quiet that ends a segment where the session names none, ms. 480: most pauses inside a sentence "
        "are shorter, and a final still comes within half a second of the last word.",
    )
    vad_path: Path | None = Field(
        default=None,
        description="silero_vad.onnx, where it does not lie in the installed silero-vad wheel; its sha256 is checked.",
    )
