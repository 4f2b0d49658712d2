"""Rounds of fine-tuning over three sites, each a process with calls of its own, by Flower over loopback.

Flower asks for other versions of what the gateway needs, so it has an environment of its own, where this is run:
``python -m pytest tests/unit/trainer/test_federated.py`` with ``stenoflow[federated]``, pytest, pytest-asyncio,
pytest-timeout, hypothesis, httpx and PyYAML.
"""

from __future__ import annotations

import contextlib
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.ops.watching import free_port, program
from tests.unit.trainer import small

pytest.importorskip(
    "flwr", reason="Flower is not installed (pip install -e '.[federated]', in an environment of its own)"
)

ROOT = Path(__file__).resolve().parents[3]
APP = ROOT / "services" / "stenoflow_trainer" / "federated"
sys.path.insert(0, str(APP))

from flwr.app import ArrayRecord  # noqa: E402
from stenoflow_federated.exchange import clipped, description_of, student_of, take, weights_of  # noqa: E402

from stenoflow.base.errors import ConfigError  # noqa: E402
from stenoflow.bundle.loading import load_bundle  # noqa: E402
from stenoflow_trainer.checkpoint import save_weights, stored_student  # noqa: E402
from stenoflow_trainer.model import Shape  # noqa: E402

CLIPS = ROOT / "tests" / "clips"
LIMIT_S = 500


def test_a_student_goes_to_a_site_and_back() -> None:
    sent = small.student()
    there = student_of(weights_of(sent), description_of(sent, clip=1.0))
    assert there.shape == sent.shape
    for name, value in sent.state_dict().items():
        assert torch.equal(there.state_dict()[name], value), name


def test_weights_of_another_student_are_refused() -> None:
    other = small.student(Shape(strides=((1,),), delays=(1,)))
    with pytest.raises(ConfigError, match="not the"):
        take(small.student(), weights_of(other))


@pytest.mark.parametrize(("change", "sent"), [(0.0, 0.0), (0.5, 0.5), (8.0, 2.0)])
def test_a_site_sends_no_longer_change_than_is_allowed(change: float, sent: float) -> None:
    before = ArrayRecord({"a": torch.ones(3, 4), "b": torch.zeros(2)})
    after = ArrayRecord({"a": torch.ones(3, 4), "b": torch.tensor([0.6, -0.8]) * change})
    got = clipped(before, after, longest=2.0).to_torch_state_dict()
    assert torch.equal(got["a"], torch.ones(3, 4))
    torch.testing.assert_close(got["b"], torch.tensor([0.6, -0.8]) * sent)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three lists of three short clips."""
    folder = tmp_path_factory.mktemp("sites")
    with (CLIPS / "clips.tsv").open(encoding="utf-8", newline="") as lines:
        rows = sorted(csv.DictReader(lines, delimiter="\t"), key=lambda row: float(row["seconds"]))[:9]
    lists = []
    for site in range(3):
        made = [f"{CLIPS / row['file']}\t{row['text']}\t{row['speaker']}" for row in rows[site::3]]
        lists.append(folder / f"site-{site}.tsv")
        lists[-1].write_text("\n".join(["path\ttext\tspeaker", *made]) + "\n", "utf-8")
    return lists


@contextlib.contextmanager
def federation(sites: list[Path], folder: Path) -> Iterator[dict[str, str]]:
    """A SuperLink and a SuperNode a site; the environment in which `flwr` finds them under the name `here`."""
    flower = Path(sys.executable).parent
    port = free_port()
    home = folder / "flower"
    home.mkdir()
    (home / "config.toml").write_text(f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n', "utf-8")
    paths = [str(APP.parents[0]), str(ROOT / "services"), str(ROOT / "shared")]
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as running:
        patch.setenv("FLWR_HOME", str(home))
        patch.setenv("FLWR_TELEMETRY_ENABLED", "0")
        patch.setenv("PATH", f"{flower}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("OMP_NUM_THREADS", "1")
        link = [str(flower / "flower-superlink"), "--insecure", "--port", str(port)]
        running.enter_context(program(link, folder / "superlink.log"))
        for number, calls in enumerate(sites):
            node = [str(flower / "flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{port}",
                    "--port", str(free_port()), "--node-config", f'calls="{calls}"']  # fmt: skip
            running.enter_context(program(node, folder / f"site-{number}.log"))
        yield {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.mark.timeout(2 * LIMIT_S)
def test_three_sites_make_one_bundle(sites: list[Path], tmp_path: Path) -> None:
    before = small.student()
    save_weights(before, tmp_path / "before.safetensors")
    told = {
        "rounds": 2, "rate": 1e-3, "batch-seconds": 6.0, "clip": 0.05, "noise": 0.0,
        "weights": f'"{tmp_path / "before.safetensors"}"', "base": f'"{ROOT / "shared/models/en-small"}"',
        "out": f'"{tmp_path / "three-sites"}"',
    }  # fmt: skip
    with federation(sites, tmp_path) as environment:
        command = ["flwr", "run", str(APP), "here", "--stream", "--run-config",
                   " ".join(f"{name}={value}" for name, value in told.items())]  # fmt: skip
        deadline = time.monotonic() + LIMIT_S
        while True:  # the SuperLink takes some seconds to listen
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
            if "unavailable" not in done.stdout + done.stderr or time.monotonic() > deadline:
                break
            time.sleep(1)
    assert "round 2: WER" in done.stdout, done.stdout + done.stderr
    assert load_bundle(tmp_path / "three-sites").card.name == "three-sites"  # checks every hash
    after = stored_student(tmp_path / "three-sites.safetensors")
    assert after.shape == before.shape
    logs = "".join(path.read_text("utf-8") for path in tmp_path.glob("site-*.log"))
    with (CLIPS / "clips.tsv").open(encoding="utf-8", newline="") as lines:
        assert not any(row["text"] in logs for row in csv.DictReader(lines, delimiter="\t"))
