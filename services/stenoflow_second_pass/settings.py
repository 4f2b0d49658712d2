"""The second pass's settings, from ``STENOFLOW_SECOND_PASS_*``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stenoflow.runtime.settings import WorkerSettings


class SecondPassSettings(WorkerSettings):
    """What a second-pass process is told."""

    model_config = SettingsConfigDict(env_prefix="STENOFLOW_SECOND_PASS_", frozen=True, extra="ignore")

    model: str = Field(default="auto", min_length=1)
    """``whisper-tiny.en``, ``moonshine-tiny-en``, ``whisper:SIZE_OR_FOLDER``, ``moonshine:FOLDER``,
    ``transformers:FOLDER``; ``auto`` takes the best one that is installed."""
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto")
    """Where the model runs; ``cuda`` where there is none is an error."""
    budget_ms: int = Field(default=2_000, ge=0, le=60_000)
    """An utterance that has waited longer goes out as the first pass has it, so captions never wait longer."""
    bundle: str = Field(default="en-small", min_length=1)
    """Name or folder of the first pass's bundle, whose emissions give the words their times."""
