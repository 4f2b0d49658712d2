"""The decoder's settings, from ``STENOFLOW_DECODER_*``."""

from __future__ import annotations

import math

from pydantic import Field
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
    alternatives: int = Field(default=3, ge=0, le=20)
    """Other readings that go with a final, at most; they make finals longer on the wire."""

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
        return overrides
