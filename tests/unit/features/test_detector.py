"""The detector: the wheel's network without torch, the same numbers in any company."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.features.sound import clip, noise

from stenoflow.base.errors import BundleError
from stenoflow_features.detector import CONTEXT, FRAME, FRESH, Detector, Heard, Window, is_silent


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def frames(samples: np.ndarray) -> list[np.ndarray]:
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples.astype(np.float32)])
    return [padded[at : at + CONTEXT + FRAME] for at in range(0, len(samples) - FRAME + 1, FRAME)]


def listen(detector: Detector, samples: np.ndarray) -> list[float]:
    memory, probabilities = FRESH, []
    for frame in frames(samples):
        [heard] = detector.hear([Window(frame, memory)])
        memory = heard.memory
        probabilities.append(heard.probability)
    return probabilities


def test_speech_is_told_from_noise(detector: Detector) -> None:
    speech = listen(detector, clip("ls-1188-133604-0010"))
    assert np.mean(np.array(speech) > 0.5) > 0.7
    assert max(listen(detector, noise(32_000, scale=500))) < 0.5


def test_numbers_are_silero_vads_own(detector: Detector) -> None:
    torch = pytest.importorskip("torch", reason="the reference detector needs torch")
    silero = _silero()
    samples = clip("ls-1188-133604-0010")
    assert not any(is_silent(Window(frame, FRESH)) for frame in frames(samples))  # those differ by design
    model = silero.load_silero_vad(onnx=True)
    expected = [
        float(model(torch.from_numpy(samples[at : at + FRAME].astype(np.float32) / 32768), 16_000))
        for at in range(0, len(samples) - FRAME + 1, FRAME)
    ]
    assert np.abs(np.array(listen(detector, samples)) - expected).max() < 1e-6


def _silero() -> Any:
    try:
        return importlib.import_module("silero_vad")
    except (ImportError, OSError) as error:
        pytest.skip(f"silero_vad does not import here: {error}")


def test_company_does_not_change_a_tracks_numbers(detector: Detector) -> None:
    tracks = [frames(clip(name)) for name in ("cv-40189610", "ls-1188-133604-0010", "aws-demo2-001540")]
    tracks += [frames(noise(64_000, seed=seed)) for seed in range(5)]
    alone = [listen(detector, np.concatenate([f[CONTEXT:] for f in track[:100]])) for track in tracks]
    together: list[list[float]] = [[] for _ in tracks]
    memories = [FRESH] * len(tracks)
    for at in range(100):
        heard = detector.hear([Window(track[at], memory) for track, memory in zip(tracks, memories, strict=True)])
        memories = [one.memory for one in heard]
        for row, one in zip(together, heard, strict=True):
            row.append(one.probability)
    assert np.abs(np.array(together) - np.array(alone)).max() < 1e-5


def test_silence_costs_no_network_and_keeps_its_place_in_the_batch(detector: Detector) -> None:
    speech = frames(clip("ls-1188-133604-0010"))[30]
    silence = np.zeros(CONTEXT + FRAME, np.float32)
    first, second, third = detector.hear([Window(silence, FRESH), Window(speech, FRESH), Window(silence, FRESH)])
    assert first == third == Heard(0.0, FRESH)
    assert second.probability == detector.hear([Window(speech, FRESH)])[0].probability > 0


def test_another_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "silero_vad.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match="sha256"):
        Detector(tmp_path / "silero_vad.onnx")


def test_the_room_never_imports_torch() -> None:
    """In a process of its own, since other tests here import torch."""
    program = (
        "import sys, stenoflow_features.stage as s, stenoflow_features.detector as d; d.Detector();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'silero_vad', 'torchaudio')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
