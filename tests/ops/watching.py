"""A running stack as Prometheus sees it: where its processes tell their metrics, and a real one that asks them."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.stack import StackProcess

LIMIT_S = 60.0


def addresses(stack: StackProcess) -> dict[str, list[str]]:
    """Where to scrape, by component: ``features`` → ``127.0.0.1:40123``. A worker says its port in its log."""
    found = {"gateway": [stack.url.removeprefix("http://")]}
    for log in sorted(stack.logs.glob("*-[0-9].log")):
        found.setdefault(log.stem.rpartition("-")[0], []).append(f"127.0.0.1:{_health_port(log)}")
    return found


def _health_port(log: Path) -> int:
    """The stack takes calls when one worker of each stage is ready; the others may still be starting."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        ready = [json.loads(line) for line in log.read_text().splitlines() if '"health_port"' in line]
        if ready:
            return int(ready[-1]["health_port"])
        assert time.monotonic() < deadline, f"{log.name}: not ready"
        time.sleep(0.2)


def redis_of(stack: StackProcess) -> str:
    """The address of the stack's Redis."""
    (pid,) = stack.pids("stenoflow_gateway")
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return arguments[arguments.index("--redis") + 1].partition("?")[0]


def free_port() -> int:
    """A port that nobody has; a program that takes none by itself may lose it to another, seldom."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def program(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block."""
    with log.open("wb") as output:
        running = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield running
        finally:
            running.terminate()
            running.wait(30)


class Prometheus:
    """A server that scrapes every second."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """What the HTTP API answers."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=LIMIT_S).json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """The present values of a query, those left out that are no number."""
        found = [float(each["value"][1]) for each in self.ask("query", query=query)["result"]]
        return [value for value in found if value == value]

    def ready(self) -> bool:
        """Whether it listens and has read its storage; until then its API answers 503 and no JSON."""
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=LIMIT_S).is_success
        except httpx.TransportError:
            return False

    def wait_for(self, count: int) -> None:
        """Until so many targets were scraped."""
        deadline = time.monotonic() + LIMIT_S
        while not self.ready():
            assert time.monotonic() < deadline, "Prometheus does not answer"
            time.sleep(0.2)
        while True:
            targets = self.ask("targets")["activeTargets"]
            if sum(target["health"] == "up" for target in targets) >= count:
                return
            assert time.monotonic() < deadline, [target["lastError"] for target in targets]
            time.sleep(0.2)


@contextlib.contextmanager
def prometheus(targets: dict[str, list[str]], folder: Path) -> Iterator[Prometheus]:
    """A Prometheus on a free port; the job of a target is its component, as the operator's monitors have it."""
    binary = shutil.which("prometheus")
    assert binary is not None
    jobs = [{"job_name": job, "static_configs": [{"targets": each}]} for job, each in targets.items()]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        binary,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with program(command, folder / "prometheus.log"):
        server = Prometheus(f"http://127.0.0.1:{port}")
        server.wait_for(sum(len(each) for each in targets.values()))
        yield server
