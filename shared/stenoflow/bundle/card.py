"""``bundle.json``: what a bundle says of itself. Format 1.

Fields without a default are required, so one that is misspelt is missing; unknown fields are left alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

FORMAT = 1
"""The one format that this version reads."""

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""What a bundle may be called."""

FileName = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Features(_Part):
    sample_rate: Literal[16_000]
    hop_ms: Literal[10]
    """The grid on which all positions meet (DESIGN 1)."""

    @property
    def hop(self) -> int:
        """Positions per frame."""
        return self.sample_rate * self.hop_ms // 1000


class FbankCard(_Features):
    """Log-mel filterbank, raw (the model normalises by itself). What is not said is as Kaldi has it.

    Kaldi's: the shipped models, icefall. Slaney's bands behind a Hann window are NeMo's and librosa's.
    """

    kind: Literal["fbank"]
    bins: int = Field(ge=1, le=512)
    """F, mel bands."""
    frame_ms: int = Field(ge=10, le=25)
    flush_frame: tuple[float, ...]
    """One frame of quiet, F numbers: what follows a segment while the look-ahead is flushed."""
    window: Literal["povey", "hann"] = "povey"
    mel: Literal["kaldi", "slaney"] = "kaldi"
    low_hz: float = Field(default=20.0, ge=0, lt=8000)
    high_hz: float = Field(default=8000.0, gt=0, le=8000)
    preemphasis: float = Field(default=0.97, ge=0, lt=1)
    remove_mean: bool = True
    """Of each window."""
    full_scale: Literal[1, 32_768] = 32_768
    """The number that full sound has: Kaldi counts in 16-bit units, most other libraries from -1 to 1."""

    @model_validator(mode="after")
    def _whole_frame(self) -> Self:
        if len(self.flush_frame) != self.bins:
            raise ValueError(f"flush_frame has {len(self.flush_frame)} numbers, bins is {self.bins}")
        if self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz} is not below high_hz {self.high_hz}")
        return self


class MfccCard(FbankCard):
    """Kaldi's cepstra of such a filterbank; ``bins`` of them."""

    kind: Literal["mfcc"]  # type: ignore[assignment]  # one of the union's own names
    bands: int = Field(ge=1, le=512)
    """Mel bands under them."""
    lifter: float = Field(default=22.0, ge=0)

    @model_validator(mode="after")
    def _fewer_than_bands(self) -> Self:
        if self.bins > self.bands:
            raise ValueError(f"bins {self.bins} is more than bands {self.bands}")
        return self


class WaveformCard(_Features):
    """The sound itself: a frame is 10 ms of it, 160 samples of 16 bits."""

    kind: Literal["waveform"]

    @property
    def bins(self) -> int:
        """Samples per frame."""
        return self.hop

    @property
    def flush_frame(self) -> tuple[float, ...]:
        """Digital silence."""
        return (0.0,) * self.bins


FeaturesCard = Annotated[FbankCard | MfccCard | WaveformCard, Field(discriminator="kind")]
"""What the model hears."""

FEATURES: TypeAdapter[FbankCard | MfccCard | WaveformCard] = TypeAdapter(FeaturesCard)
"""Reads one that travels by itself: workers tell gateways, and records tell the features stage, what a bundle hears."""


KALDI = FbankCard.model_construct(kind="fbank", sample_rate=16_000, hop_ms=10, bins=80, frame_ms=25, flush_frame=())
"""What every features worker makes unless it is told: Kaldi's filterbank of 80 bands. (What quiet is, no matter.)"""


def asked(features: FbankCard | MfccCard | WaveformCard) -> str:
    """The text that asks for features; empty for what every features worker makes unless it is told."""
    usual = features.kind == "fbank" and features.model_copy(update={"flush_frame": ()}) == KALDI
    return "" if usual else features.model_dump_json()


class StatefulCard(_Part):
    """A streaming model in ONNX; inputs and outputs by layout are in ``services/stenoflow_acoustic/README.md``."""

    kind: Literal["stateful"]
    layout: Literal["stenoflow", "zipformer2", "nemo"] = "stenoflow"
    """What its inputs and outputs are called: ours, or one of the two that sherpa-onnx publishes models in."""
    file: FileName
    precision: Literal["float32", "int8"]
    initial_state: FileName
    """Safetensors: each state of a fresh segment, without batch axis."""
    step_frames: int = Field(ge=1, le=1024)
    """Feature frames per step."""
    window_frames: int | None = Field(default=None, ge=1, le=2048)
    """Feature frames that a step hears, from its first one on; None: no more than its own."""
    emissions_per_step: int = Field(ge=1, le=256)
    """E, output frames per step."""
    look_ahead_ms: int = Field(ge=0, le=5_000)
    """The output of a step is about the sound so long before it."""

    @property
    def heard_frames(self) -> int:
        """Feature frames that a step hears."""
        return self.window_frames or self.step_frames

    @property
    def files(self) -> tuple[str, ...]:
        """What it is loaded from."""
        return (self.file, self.initial_state)

    @property
    def wait_ms(self) -> int:
        """How long after a sound the model says what it was, at the latest, but for its own time."""
        return self.look_ahead_ms + 10 * (self.heard_frames - self.step_frames)


class Preset(_Part):
    """How a windowed model is moved over the sound.

    Each window hears ``left_ms + step_ms + right_ms``, and of what it says the middle, ``step_ms``, is kept.
    """

    left_ms: int = Field(ge=0, le=20_000)
    step_ms: int = Field(ge=20, le=10_000)
    right_ms: int = Field(ge=0, le=10_000)


PresetName = Literal["fast", "balanced", "accurate"]


class WindowedCard(_Part):
    """A model that was made for whole utterances: transformers (a folder's safetensors and settings), or ONNX."""

    kind: Literal["windowed"]
    runtime: Literal["transformers", "onnx"]
    file: FileName
    """The ONNX model; of transformers, its ``config.json``."""
    precision: Literal["float32", "int8"]
    emission_ms: int = Field(ge=10, le=640, multiple_of=10)
    """One output frame."""
    overhang_frames: int = Field(ge=0, le=100)
    """Feature frames that the model hears beyond the last output frame: filled with quiet at a segment's end."""
    normalise: Literal["none", "sound", "bins"] = "none"
    """Of what a window hears: nothing; all its samples, or each bin over time, to mean 0 and deviation 1. The feature
    extractor of a transformers model does that itself."""
    presets: dict[PresetName, Preset]
    preset: PresetName = "balanced"
    """What is taken where the worker is told none."""

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        if self.preset not in self.presets:
            raise ValueError(f"preset {self.preset} is none of {sorted(self.presets)}")
        for name, preset in self.presets.items():
            if any(ms % self.emission_ms for ms in (preset.left_ms, preset.step_ms, preset.right_ms)):
                raise ValueError(f"preset {name} is not in multiples of an output frame, {self.emission_ms} ms")
            if preset.right_ms < 10 * self.overhang_frames:
                raise ValueError(f"preset {name} needs a right_ms of {10 * self.overhang_frames} ms or more")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """What it is loaded from, as far as this card names it."""
        return (self.file,)

    @property
    def wait_ms(self) -> int:
        """How long after a sound the model says what it was, with its own preset."""
        return self.presets[self.preset].step_ms + self.presets[self.preset].right_ms


AcousticCard = Annotated[StatefulCard | WindowedCard, Field(discriminator="kind")]
"""How the model runs."""


class TokensCard(_Part):
    """The output alphabet, V symbols."""

    symbols: tuple[str, ...] = Field(min_length=2)
    blank: int = Field(ge=0)
    separator: int | None = Field(default=None, ge=0)
    """Index of the symbol between words. None: symbols are pieces, and those that begin a word begin with U+2581."""
    hidden: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Indices of symbols that stand for no text, such as the ends of sentences and ``<unk>``."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        count = len(self.symbols)
        if max(self.blank, self.separator or 0) >= count or self.blank == self.separator:
            raise ValueError(f"blank {self.blank} and separator {self.separator} must be two of {count} symbols")
        if max(self.hidden, default=0) >= count or {self.blank, self.separator} & set(self.hidden):
            raise ValueError(f"hidden {self.hidden} must be other symbols than blank and separator, of {count}")
        if len(set(self.symbols)) != count:
            raise ValueError("a symbol appears twice")
        return self


class ConfidenceCard(_Part):
    """How often words are right, found on speakers that the model never heard; see ``Calibration``."""

    slope: float = Field(gt=0)
    offset: float
    surroundings: float = 0.0


class DecoderCard(_Part):
    """What the beam search needs; weights are for natural logarithms."""

    language_model: FileName | None = None
    """None: words are as likely as the sound says."""
    lexicon: FileName | None = None
    """None: every spelling is a word."""
    lm_weight: float = Field(ge=0)
    word_score: float
    beam_width: int = Field(ge=1, le=10_000)
    unknown_score: float
    log_priors: tuple[Annotated[float, Field(ge=-100, le=0)], ...] = ()
    """By symbol, natural log of how often the model says it of speech; none: nobody measured it."""
    prior_weight: float = Field(default=0.0, ge=0, le=1)
    """How much of ``log_priors`` the search takes off what the model says."""
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
        acoustic = self.acoustic
        if isinstance(acoustic, StatefulCard):
            if self.features.kind == "waveform":
                raise ValueError("a stateful model hears fbank or mfcc; only windowed ones hear the waveform")
            step_ms = acoustic.step_frames * self.features.hop_ms
            if acoustic.step_frames % acoustic.emissions_per_step:
                raise ValueError(f"{acoustic.emissions_per_step} emissions do not divide {acoustic.step_frames} frames")
            if acoustic.look_ahead_ms % step_ms:
                raise ValueError(f"look_ahead_ms {acoustic.look_ahead_ms} is not a multiple of a step, {step_ms} ms")
            if acoustic.heard_frames < acoustic.step_frames:
                raise ValueError(f"a step of {acoustic.step_frames} frames hears {acoustic.heard_frames}")
        elif acoustic.runtime == "transformers" and self.features.kind != "waveform":
            raise ValueError("a transformers model hears the waveform")
        if self.decoder.log_priors and len(self.decoder.log_priors) != len(self.tokens.symbols):
            raise ValueError(f"{len(self.decoder.log_priors)} log_priors for {len(self.tokens.symbols)} symbols")
        if self.decoder.language_model and not self.decoder.lexicon:
            raise ValueError("a language model over words needs their lexicon")
        for file in (*acoustic.files, self.decoder.language_model, self.decoder.lexicon):
            if file is not None and file not in self.files:
                raise ValueError(f"{file} is used, but files has no hash of it")
        return self
