"""The decoder's settings, from ``STENOFLOW_DECODER_*``."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from stenoflow.runtime.settings import WorkerSettings


class DecoderSettings(WorkerSettings):
    """What a decoder process is told; weights of words come with the bundle."""

    model_config = SettingsConfigDict(env_prefix="STENOFLOW_DECODER_", frozen=True, extra="ignore")

    bundle: str = Field(default="en-small", min_length=1)
    """Name or folder of the bundle."""
    beam_width: int | None = Field(default=None, ge=1, le=500)
    """Hypotheses kept; the bundle's own where not given. Cost grows with it."""
    score_margin: float = Field(default=10.0, gt=0, le=1000)
    """Natural log: hypotheses so far below the best are dropped. 8, 10 and 14 read alike; less is stable sooner."""
    top_tokens: int = Field(default=12, ge=1, le=500)
    """Tokens tried per frame; a frame of characters rarely has more than three likely ones."""
    token_margin: float = Field(default=8.0, gt=0, le=1000)
    """Natural log: tokens so far below a frame's best (3 in 10,000) are not tried."""
    blank_skip: float = Field(default=0.98, gt=0.5, le=1)
    """Probability: a run of frames whose blank lies above counts as one frame. Most of a call; 1 switches it off."""
    rescoring_lm: Path | None = None
    """A bigger n-gram (KenLM binary) that chooses among the readings of each utterance that has ended."""
    rescoring_model: str | None = Field(default=None, min_length=1)
    """Instead of it a causal language model of transformers: a folder or a name (the extra ``rescoring``)."""
    rescoring_weight: float = Field(default=0.3, ge=0, le=5)
    """Factor on its natural logarithms, beside all else that a reading scores; tune it on speech of your own."""

    @model_validator(mode="after")
    def _one_rescorer(self) -> DecoderSettings:
        if self.rescoring_lm is not None and self.rescoring_model is not None:
            raise ValueError("give rescoring_lm or rescoring_model, not both")
        return self

    @property
    def search_overrides(self) -> dict[str, float]:
        """Fields of :class:`stenoflow_decoder.model.SearchOptions` that this process sets."""
        overrides: dict[str, float] = {
            "score_margin": self.score_margin,
            "top_tokens": self.top_tokens,
            "token_margin": self.token_margin,
            "blank_skip": math.log(self.blank_skip),
        }
        if self.beam_width is not None:
            overrides["beam_width"] = self.beam_width
        if self.rescoring_lm is not None or self.rescoring_model is not None:
            overrides["recombine"] = False  # else readings differ in their last words only
        return overrides
