"""Images and the compose stack for tests: built without a registry, started on ports of their own, and ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import servers

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
IMAGES = ("gateway", "features", "acoustic", "decoder", "second-pass")
TAG = "test"
PROFILES = ("monitoring", "gpu")
PROMETHEUS = "local/prometheus:debian"
"""A stand-in that is made where no registry is; elsewhere the compose file's own image is taken."""

TESTED = """
x-no-shell: &no-shell
  volumes:
    - {{type: bind, source: /dev/null, target: /bin/sh}}
    - {{type: bind, source: /dev/null, target: /bin/bash}}
services:
  gateway: {{<<: *no-shell}}
  features: {{<<: *no-shell, environment: {{STENOFLOW_FEATURES_PLACES: "64", STENOFLOW_FEATURES_STUCK_S: "300"}}}}
  acoustic: {{<<: *no-shell, environment: {{STENOFLOW_ACOUSTIC_PLACES: "64", STENOFLOW_ACOUSTIC_STUCK_S: "300"}}}}
  decoder: {{<<: *no-shell, environment: {{STENOFLOW_DECODER_PLACES: "64", STENOFLOW_DECODER_STUCK_S: "300"}}}}
  second-pass:
    <<: *no-shell
    environment:
      STENOFLOW_SECOND_PASS_PLACES: "64"
      STENOFLOW_SECOND_PASS_BUDGET_MS: "60000"
      STENOFLOW_SECOND_PASS_STUCK_S: "300"
  prometheus:
    volumes: ["{prometheus}:/etc/prometheus/prometheus.yml:ro"]
"""
"""Places for all and time for each step however busy the machine is; and no shell in any of our containers."""


@cache
def compose_is_missing() -> str:
    """Why no compose file can be read, or empty."""
    if shutil.which("docker") is None:
        return "no Docker: its command line is not installed"
    told = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60)
    return "" if told.returncode == 0 else "no Docker compose"


def needs_engine() -> None:
    """Skips the test where nothing can be built or run, and says what is missing."""
    if missing := compose_is_missing() or servers.docker_is_missing():
        pytest.skip(missing)


def inspect(kind: str, name: str) -> Any:
    """What Docker knows of an image or a container."""
    told = subprocess.run(["docker", kind, "inspect", name], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)[0]


@cache
def build_images() -> None:
    """Builds all images as ``make images`` does; what has not changed since the last time is not built again."""
    needs_engine()
    wheels = ROOT / "build" / "wheels"
    without_registry = [f"WHEELS={wheels}"] if wheels.is_dir() else []
    made = subprocess.run(
        ["make", "images", f"TAG={TAG}", f"PYTHON={sys.executable}", *without_registry],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-4000:]


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ComposeStack:
    """The compose file's stack under a name and on ports of its own.

    Args:
        folder: for the file of what is different here.
        name: the project's.
        appendonly: whether Redis keeps its data over a restart.
    """

    def __init__(self, folder: Path, name: str, *, appendonly: bool) -> None:
        self.port, self.redis_port = free_port(), free_port()
        prometheus = folder / "prometheus.yml"
        config = (ROOT / "compose" / "prometheus.yml").read_text()
        assert config.count(":8000") == 1
        prometheus.write_text(config.replace(":8000", f":{self.port}"))
        different = folder / "tested.yml"
        different.write_text(TESTED.format(prometheus=prometheus))
        self._command = ["docker", "compose", "-p", name, "-f", str(COMPOSE_FILE), "-f", str(different)]
        self._command += ["--profile", "monitoring"]
        self._environment = {
            **os.environ, "PORT": str(self.port), "REDIS_PORT": str(self.redis_port), "TAG": TAG,
            "REDIS_APPENDONLY": "yes" if appendonly else "no",
        }  # fmt: skip
        if subprocess.run(["docker", "image", "inspect", PROMETHEUS], capture_output=True).returncode == 0:
            self._environment["PROMETHEUS_IMAGE"] = PROMETHEUS

    @property
    def stream_url(self) -> str:
        """Where calls go."""
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begins a compose command."""
        return subprocess.Popen(
            [*self._command, *arguments],
            cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        """Runs a compose command, which must succeed; returns what it printed."""
        process = self.start(*arguments)
        printed, _ = process.communicate()
        assert process.returncode == 0, f"{' '.join(arguments)}: {printed[-3000:]}{self.last_words()}"
        return printed

    def up(self, services: Sequence[str]) -> None:
        """Starts services and waits until all are healthy."""
        self.run("up", "--detach", "--wait", "--wait-timeout", "600", "--no-build", *services)

    def container(self, service: str) -> Any:
        """What Docker knows of a service's container."""
        return inspect("container", self.run("ps", "--all", "--quiet", service).strip())

    def last_words(self) -> str:
        """The end of every service's log, for a failing test."""
        process = self.start("logs", "--no-color", "--tail", "15")
        return "\n" + process.communicate()[0][-6000:]

    def down(self) -> None:
        """Ends it, and removes its volumes."""
        self.run("down", "--volumes", "--timeout", "10")
