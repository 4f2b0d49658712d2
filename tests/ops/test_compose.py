"""The compose file as it stands: valid with every combination of profiles, closed, in agreement with its neighbours."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from typing import Any

import pytest
import yaml
from compose.make_rules import MADE, make

from tests.ops.compose_stack import COMPOSE_FILE, IMAGES, PROFILES, ROOT, compose_is_missing

FILE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, Any] = FILE["services"]
OURS = (*IMAGES, "acoustic-gpu")
ALWAYS = {"secrets", "redis", *IMAGES}
OF_PROFILE = {"monitoring": {"prometheus", "grafana"}, "gpu": {"acoustic-gpu"}}


@pytest.mark.docker
@pytest.mark.parametrize(
    "profiles",
    [chosen for count in range(len(PROFILES) + 1) for chosen in itertools.combinations(PROFILES, count)],
    ids=lambda chosen: "+".join(chosen) or "none",
)
def test_compose_takes_it_with_every_combination_of_profiles(profiles: tuple[str, ...]) -> None:
    if missing := compose_is_missing():
        pytest.skip(missing)
    options = [option for profile in profiles for option in ("--profile", profile)]
    told = subprocess.run(
        ["docker", "compose", "-f", str(COMPOSE_FILE), *options, "config", "--format", "json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert not told.stderr.strip(), f"compose warns: {told.stderr}"
    wanted = ALWAYS.union(*(OF_PROFILE[profile] for profile in profiles))
    assert json.loads(told.stdout)["services"].keys() == wanted


def test_no_profile_is_left_out() -> None:
    assert {profile for each in SERVICES.values() for profile in each.get("profiles", ())} == set(PROFILES)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_closed(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "cap_add"} & service.keys()
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), f"{port} would be open to others"
    if name != "grafana":  # it writes beside its data
        assert service["read_only"] is True
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))
    if service.get("network_mode") == "host":
        told = json.dumps([service.get("command"), service.get("environment")])
        assert name == "gateway" or "127.0.0.1" in told, "on the host's network only loopback may be listened on"


@pytest.mark.parametrize("name", OURS)
def test_every_service_of_ours_waits_for_redis_and_can_scale(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert service["build"]["target"] == name and service["image"].startswith(f"stenoflow/{name}:")
    assert "test" not in service["healthcheck"], "the image's own is asked"
    assert SERVICES["redis"]["healthcheck"]["test"]
    assert "container_name" not in service


def test_no_secret_stands_in_an_environment_or_a_command() -> None:
    for name, service in SERVICES.items():
        told = json.dumps([service.get("command"), service.get("environment"), service.get("labels")])
        assert not re.search(r"redis://\S*:\S*@|requirepass", told), name
        if name in OURS:
            owner = "acoustic" if name == "acoustic-gpu" else name
            assert f"{owner}-secrets:/run/secrets:ro" in service["volumes"], "its own, and no other's"
            assert sum("secrets" in str(volume) for volume in service["volumes"]) == 1


def test_prometheus_asks_every_service_at_its_ports() -> None:
    config = yaml.safe_load((ROOT / "compose" / "prometheus.yml").read_text())
    asked = {
        job["job_name"]: [target for group in job["static_configs"] for target in group["targets"]]
        for job in config["scrape_configs"]
    }
    assert asked.keys() == set(IMAGES)
    for name in OURS:
        job = asked["acoustic" if name == "acoustic-gpu" else name]
        if name == "gateway":
            assert job == ["127.0.0.1:8000"] and "${PORT:-8000}" in str(SERVICES[name]["environment"])
            continue
        (port,) = SERVICES[name]["ports"]
        first, last = re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):9000", port).groups()  # type: ignore[union-attr]
        assert {f"127.0.0.1:{number}" for number in range(int(first), int(last) + 1)} <= set(job)


def test_the_rules_are_those_of_kubernetes() -> None:
    assert MADE.read_text() == make(), "run `make rules` and commit it"
    given = yaml.safe_load((ROOT / "k8s" / "components" / "monitoring" / "rules.yaml").read_text())
    assert yaml.safe_load(MADE.read_text()) == given["spec"]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    (source,) = yaml.safe_load((ROOT / "compose/grafana/datasources/prometheus.yml").read_text())["datasources"]
    assert f"--web.listen-address={source['url'].removeprefix('http://')}" in SERVICES["prometheus"]["command"]
    (provider,) = yaml.safe_load((ROOT / "compose/grafana/dashboards/stenoflow.yml").read_text())["providers"]
    mounted = {volume["target"]: volume["source"] for volume in SERVICES["grafana"]["volumes"] if type(volume) is dict}
    assert mounted[provider["options"]["path"]] == "./k8s/components/monitoring/dashboards"
