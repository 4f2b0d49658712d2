"""The overlays of ``k8s/`` with secrets of their own, and what kustomize makes of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stenoflow.bus.records import Stages

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
OVERLAYS = {"local": (), "production": ("--tls",)}
"""The overlays, and with what their secrets are made."""

Manifest = dict[str, Any]

WORKERS = {
    "features": Stages.FEATURES,
    "acoustic": Stages.ACOUSTIC,
    "decoder": Stages.DECODER,
    "second-pass": Stages.SECOND_PASS,
}
"""The workers' deployments, and the stage of each."""


def make_secrets(overlay: Path, *options: str) -> Path:
    """Runs the script as an operator does, and returns the folder with the secrets."""
    script = [sys.executable, str(K8S / "make_secrets.py"), str(overlay), *options]
    subprocess.run(script, check=True, capture_output=True, timeout=60)
    return overlay / "secrets"


def passwords(secrets: Path) -> dict[str, str]:
    """The present password of each user."""
    known = json.loads((secrets / "passwords.json").read_text())["passwords"]
    return {user: each[0] for user, each in known.items()}


def empty_overlay(folder: Path) -> Path:
    """A folder that the script takes for an overlay."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").touch()
    return folder


@cache
def kustomize() -> tuple[str, ...]:
    """The command that renders; empty where this machine has none that knows components."""
    for command in (("kustomize", "build"), ("kubectl", "kustomize")):
        if shutil.which(command[0]) is None:
            continue
        told = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
        if told.returncode == 0:
            return command
    return ()


def needs_kustomize() -> None:
    """Skips the test, and says of what this machine has none."""
    if not kustomize():
        pytest.skip("neither kustomize nor kubectl is here (Debian 13's packages run on Debian 12: PLATFORM_OPS)")


def rendered(folder: Path) -> list[Manifest]:
    """All objects of a kustomization."""
    import yaml

    result = subprocess.run([*kustomize(), str(folder)], capture_output=True, text=True, timeout=60, env=os.environ)
    assert result.returncode == 0, result.stderr
    assert not result.stderr.strip(), f"kustomize warns: {result.stderr}"
    return [each for each in yaml.safe_load_all(result.stdout) if each]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    """The objects of some kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of a kind and a name."""
    (found,) = [each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name]
    return found


def workloads_in(manifests: list[Manifest]) -> list[Manifest]:
    """All that make pods."""
    return of_kind(manifests, "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def pod_of(workload: Manifest) -> Manifest:
    """What the pods of a workload are."""
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def containers_in(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each container of each workload, with the workload's name."""
    for workload in workloads_in(manifests):
        for container in [*pod_of(workload)["containers"], *pod_of(workload).get("initContainers", ())]:
            yield workload["metadata"]["name"], container
