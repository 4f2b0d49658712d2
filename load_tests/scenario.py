"""What a load test does: a TOML file of ``load_tests/scenarios/``, read and checked before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stenoflow.base.positions import CLIENT_RATES
from stenoflow.bus.records import Stages

SCENARIOS = Path(__file__).with_name("scenarios")
TRACKS_A_CALL = 2
LAST_WORDS_S = 5.0
"""Calls of a rung that would be shorter are not begun."""


class ScenarioError(ValueError):
    """A scenario cannot be played; the message is a sentence that names the file, the place and what to write."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Kind(_Part):
    """One kind of caller."""

    name: str = Field(min_length=1, max_length=40)
    """As it stands in the report."""
    share: float = Field(gt=0, le=1)
    """Of all calls."""
    sample_rate: int
    """Hz, as the client sends it: 8000 for telephones, 48000 for browsers."""
    telephone: bool = False
    """Whether the sound went through G.711 mu-law before."""

    @model_validator(mode="after")
    def _known_rate(self) -> Self:
        if self.sample_rate not in CLIENT_RATES:
            raise ValueError(f"{self.sample_rate} Hz is not taken: write one of {', '.join(map(str, CLIENT_RATES))}")
        return self


class Churn(_Part):
    """Calls that come and go: each line has one call after the other, of other lengths."""

    shortest_s: float = Field(ge=LAST_WORDS_S)
    """Length of the shortest call, seconds."""
    longest_s: float = Field(ge=LAST_WORDS_S)
    """Length of the longest."""
    pause_s: float = Field(default=1.0, ge=0)
    """Between a line's calls."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.longest_s < self.shortest_s:
            raise ValueError(f"longest_s is {self.longest_s:g}, less than shortest_s {self.shortest_s:g}")
        return self


class Storm(_Part):
    """Sockets that are all cut at one instant; their calls go on over new ones."""

    at_s: float = Field(gt=0)
    """Second of the rung."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the calls that are then open."""


class Fault(_Part):
    """A process that is killed (SIGKILL) and started again by its supervisor."""

    at_s: float = Field(gt=0)
    """Second of the rung."""
    stage: Literal["gateway", "features", "acoustic", "decoder", "second_pass"]
    """Whose process."""


class Scenario(_Part):
    """A whole load test."""

    title: str = Field(min_length=1)
    """For the report."""
    ladder: tuple[int, ...] = Field(min_length=1)
    """Tracks of each rung, ascending and even: calls have two."""
    seconds: float = Field(default=30.0, ge=10, le=7200)
    """Length of a rung."""
    warm_up_s: float = Field(default=5.0, ge=0)
    """Its first seconds, which are spoken but not measured."""
    workers: dict[Literal["features", "acoustic", "decoder", "second_pass"], int] = {}
    """Processes of a stage; one where nothing is said."""
    second_pass: str = "off"
    """The model that hears utterances again; ``off`` for none."""
    compared: int = Field(default=2, ge=0)
    """Calls of each rung that are heard again undisturbed, in one process, and compared word for word."""
    keep_climbing: bool = False
    """Whether rungs above one that did not hold are played too."""
    mix: tuple[Kind, ...] = (
        Kind(name="telephone", share=0.5, sample_rate=8000, telephone=True),
        Kind(name="browser", share=0.5, sample_rate=48_000),
    )
    """Kinds of callers; their shares add up to 1."""
    churn: Churn | None = None
    """Calls that come and go; without it each call is as long as the rung."""
    storms: tuple[Storm, ...] = ()
    """Reconnect storms of every rung."""
    faults: tuple[Fault, ...] = ()
    """Kills of every rung."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for tracks in self.ladder:
            if tracks < TRACKS_A_CALL or tracks % TRACKS_A_CALL:
                raise ValueError(f"ladder: {tracks} is no even number of tracks of at least 2: a call has two")
        for below, above in pairwise(self.ladder):
            if above <= below:
                raise ValueError(f"ladder: {above} follows {below}, but rungs must ascend")
        if abs(sum(kind.share for kind in self.mix) - 1) > 0.001:
            raise ValueError(f"mix: the shares add up to {sum(kind.share for kind in self.mix):g}, not to 1")
        if self.warm_up_s > self.seconds - LAST_WORDS_S:
            raise ValueError(
                f"warm_up_s is {self.warm_up_s:g}: leave at least {LAST_WORDS_S:g} s of the rung to measure"
            )
        for at_s, _ in self.events:
            if at_s >= self.seconds:
                raise ValueError(f"at_s is {at_s:g}, but the rung is over after {self.seconds:g} s")
        for fault in self.faults:
            if fault.stage == "second_pass" and self.second_pass == "off":
                raise ValueError("faults: there is no second_pass to kill: name a model in second_pass")
        return self

    @property
    def events(self) -> tuple[tuple[float, str], ...]:
        """What is done to a rung, and when."""
        cuts = [(storm.at_s, f"{100 * storm.share:.0f} % cut") for storm in self.storms]
        return tuple(sorted([*cuts, *((fault.at_s, f"{fault.stage} killed") for fault in self.faults)]))

    @property
    def processes(self) -> dict[Stages, int]:
        """Workers, as the stack wants them."""
        return {Stages(name): count for name, count in self.workers.items()}


def read_scenario(path: Path) -> Scenario:
    """Reads a scenario; a bare name is one of those that ship.

    Raises:
        ScenarioError: it is not there, no TOML, or says what cannot be played.
    """
    if not path.exists() and (SCENARIOS / f"{path.name}.toml").exists():
        path = SCENARIOS / f"{path.name}.toml"
    try:
        return Scenario.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError:
        known = ", ".join(sorted(each.stem for each in SCENARIOS.glob("*.toml")))
        raise ScenarioError(f"there is no scenario {path}: give a TOML file, or one of {known}") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path.name} is no TOML: {error}") from None
    except ValidationError as error:
        raise ScenarioError(f"{path.name}: " + "; ".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> Sequence[str]:
    found = []
    for each in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in each["loc"])
        what = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            what = "there is no such setting; see load_tests/README.md"
        found.append(f"{where}: {what}" if where else what)
    return found
