"""``bundle.json``: what a bundle says of itself. Format 1.

Every field but ``confidence`` is required, so one that is misspelt is missing; unknown fields are left alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT = 1
"""The one format that this version reads."""

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""What a bundle may be called."""

FileName = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class FeaturesCard(_Part):
    """What the model hears: Kaldi's log-mel filterbank, raw (the model normalises by itself)."""

    kind: Literal["fbank"]
    sample_rate: Literal[16_000]
    bins: int = Field(ge=1, le=512)
    """F, mel bands."""
    frame_ms: int = Field(ge=1, le=100)
    hop_ms: Literal[10]
    """The grid on which all positions meet (DESIGN 1)."""
    flush_frame: tuple[float, ...]
    """One frame of quiet, F numbers: what follows a segment while the look-ahead is flushed."""

    @model_validator(mode="after")
    def _whole_frame(self) -> Self:
        if len(self.flush_frame) != self.bins:
            raise ValueError(f"flush_frame has {len(self.flush_frame)} numbers, bins is {self.bins}")
        return self

    @property
    def hop(self) -> int:
        """Positions per frame."""
        return self.sample_rate * self.hop_ms // 1000


class AcousticCard(_Part):
    """A stateful model in ONNX; its inputs and outputs are in ``services/stenoflow_acoustic/README.md``."""

    kind: Literal["stateful"]
    file: FileName
    precision: Literal["float32", "int8"]
    initial_state: FileName
    """Safetensors: each state of a fresh segment, without batch axis."""
    step_frames: int = Field(ge=1, le=64)
    """Feature frames per step."""
    emissions_per_step: int = Field(ge=1, le=64)
    """E, output frames per step."""
    look_ahead_ms: int = Field(ge=0, le=5_000)
    """The output of a step is about the sound so long before it."""


class TokensCard(_Part):
    """The output alphabet, V symbols."""

    symbols: tuple[str, ...] = Field(min_length=2)
    blank: int = Field(ge=0)
    separator: int = Field(ge=0)
    """Index of the symbol between words."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        count = len(self.symbols)
        if max(self.blank, self.separator) >= count or self.blank == self.separator:
            raise ValueError(f"blank {self.blank} and separator {self.separator} must be two of {count} symbols")
        if len(set(self.symbols)) != count:
            raise ValueError("a symbol appears twice")
        return self


class ConfidenceCard(_Part):
    """How often words are right, found on speakers that the model never heard; see ``Calibration``."""

    slope: float = Field(gt=0)
    offset: float


class DecoderCard(_Part):
    """What the beam search needs; weights are for natural logarithms."""

    language_model: FileName
    lexicon: FileName
    lm_weight: float
    word_score: float
    beam_width: int = Field(ge=1, le=10_000)
    unknown_score: float
    confidence: ConfidenceCard | None = None
    """None: nobody measured it, and words are as sure as the model says."""


class Card(_Part):
    """All of ``bundle.json``."""

    format: Literal[1]
    name: Annotated[str, Field(pattern=NAME)]
    version: str
    language: str
    description: str
    licences: tuple[str, ...]
    features: FeaturesCard
    acoustic: AcousticCard
    tokens: TokensCard
    decoder: DecoderCard
    measured: tuple[dict[str, Any], ...]
    """Error rates and speeds, with what they were measured on."""
    files: dict[FileName, Sha256]
    """Every file of the bundle but ``bundle.json``, with its sha256 in hex."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        acoustic, step_ms = self.acoustic, self.acoustic.step_frames * self.features.hop_ms
        if acoustic.step_frames % acoustic.emissions_per_step:
            raise ValueError(f"{acoustic.emissions_per_step} emissions do not divide {acoustic.step_frames} frames")
        if acoustic.look_ahead_ms % step_ms:
            raise ValueError(f"look_ahead_ms {acoustic.look_ahead_ms} is not a multiple of a step, {step_ms} ms")
        for file in (acoustic.file, acoustic.initial_state, self.decoder.language_model, self.decoder.lexicon):
            if file not in self.files:
                raise ValueError(f"{file} is used, but files has no hash of it")
        return self
