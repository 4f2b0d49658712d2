"""Real clips and plain sounds for the models of the second pass; models that are not installed skip by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from stenoflow_second_pass.models.weights import missing

CLIPS = Path(__file__).resolve().parents[2] / "clips"
RATE = 16_000

VIGNETTE = "ls-1188-133604-0010"
LOCAL = "cv-40206200"


def clip(name: str) -> np.ndarray:
    """(N,) float32 in [-1, 1] at 16 kHz."""
    soundfile = pytest.importorskip("soundfile", reason="real speech needs soundfile")
    samples, rate = soundfile.read(CLIPS / f"{name}.opus", dtype="float32")
    if rate != RATE:
        samples = pytest.importorskip("soxr", reason="this clip has another rate").resample(samples, rate, RATE)
    return np.asarray(samples, np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def need(model: str, packages: Mapping[str, str]) -> None:
    """Skips where the model is not installed, and says what to install."""
    if absent := missing(packages):
        pytest.skip(f"{model} is not installed here: pip install {' '.join(absent)}")
