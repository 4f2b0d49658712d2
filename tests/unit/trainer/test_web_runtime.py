"""Models in a browser's runtime: onnxruntime-web says what torch says, and the shipped int8 the same words.

In float32 within 1e-3. In int8 each row is rounded to 256 levels: where sums in another order fall on the other side of
a half, a number moves by a whole level, so the probabilities of the two runtimes differ by up to 0.03 here.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import soundfile
import torch
from safetensors.numpy import load_file
from tests.unit.trainer import small

from stenoflow_trainer.data import fbank
from stenoflow_trainer.export import STATES, build_graph
from stenoflow_trainer.model import Merged
from stenoflow_trainer.train import greedy

ROOT = Path(__file__).resolve().parents[3]
JAVASCRIPT = ROOT / "gateway-js"
BUNDLE = ROOT / "shared/models/en-small"
CHUNK = 16  # frames: 160 ms

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is missing"),
    pytest.mark.skipif(
        not (JAVASCRIPT / "node_modules/onnxruntime-web").is_dir(), reason="npm ci has not run in gateway-js"
    ),
]


def in_web_runtime(
    folder: Path, model: Path, features: npt.NDArray[np.float32], states: dict[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    """Log-probabilities [2 T, 29] of features [4 T, 80], in chunks of 160 ms."""
    arrays = {"features": features[None]} | {f"state_{name}": states[name] for name in STATES}
    for name, array in arrays.items():
        (folder / name).write_bytes(np.ascontiguousarray(array, np.float32).tobytes())
    task: dict[str, Any] = {"model": str(model), "chunk": CHUNK}
    task["shapes"] = {name: array.shape for name, array in arrays.items()}
    task["files"] = {name: str(folder / name) for name in arrays}
    done = subprocess.run(
        ["node", "test/model/run.js"],
        cwd=JAVASCRIPT,
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    print(f"{np.median(answer['ms']):.1f} ms a chunk of 160 ms")
    return np.frombuffer(base64.b64decode(answer["log_probs"]), np.float32).reshape(-1, 29).copy()


@pytest.mark.timeout(300)  # a busy machine
def test_the_shipped_model_says_the_same_words_as_under_onnxruntime(tmp_path: Path) -> None:
    samples, _ = soundfile.read(ROOT / "shared/samples/two-sided-call.flac", dtype="float32")
    features = fbank(np.ascontiguousarray(samples[16_000 : 16_000 * 7, 0]))
    features = features[: len(features) // CHUNK * CHUNK]
    states = {name: value[None] for name, value in load_file(BUNDLE / "initial_state.safetensors").items()}
    said = in_web_runtime(tmp_path, BUNDLE / "model.onnx", features, states)
    step = small.onnx_session((BUNDLE / "model.onnx").read_bytes())
    expected, _ = small.in_chunks(step, states, features[None], [CHUNK // 4])
    apart = np.abs(np.exp(said) - np.exp(expected[0]))
    assert apart.max() < 0.06 and apart.mean() < 0.001
    assert greedy(torch.from_numpy(said)) == greedy(torch.from_numpy(expected[0])) != ""


def test_a_float_model_says_the_same_as_torch(tmp_path: Path) -> None:
    merged = Merged(small.student())
    onnx.save(build_graph(merged, int8=False), tmp_path / "model.onnx")
    features = small.log_mel(1, 24)
    said = in_web_runtime(tmp_path, tmp_path / "model.onnx", features[0], small.initial(merged, 1))
    assert np.abs(said - small.whole(merged.student, features)[0].numpy()).max() < 1e-3
