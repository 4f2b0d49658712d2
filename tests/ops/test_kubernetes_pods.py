"""The manifests of ``k8s/``: what every pod is and needs, and that it says what the code says.

No API server is here, so nothing is admitted or scheduled.
"""

from __future__ import annotations

import base64
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic_settings import BaseSettings

from stenoflow.runtime.health import Health
from stenoflow.runtime.loop import ALIVE_S, STUCK_S
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features.settings import FeaturesSettings
from stenoflow_gateway.__main__ import _check_host
from stenoflow_gateway.access.bearer import Keyring
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.gateway import DRAIN_S
from stenoflow_gateway.settings import GatewaySettings
from stenoflow_second_pass.settings import SecondPassSettings
from tests.ops.overlays import (
    ROOT,
    WORKERS,
    Manifest,
    containers_in,
    empty_overlay,
    make_secrets,
    named,
    of_kind,
    pod_of,
    workloads_in,
)

SETTINGS: Mapping[str, type[BaseSettings]] = {
    "GATEWAY": GatewaySettings,
    "FEATURES": FeaturesSettings,
    "ACOUSTIC": AcousticSettings,
    "DECODER": DecoderSettings,
    "SECOND_PASS": SecondPassSettings,
}
MADE_BY_CERT_MANAGER = {"redis-tls", "gateway-tls", "redis-ca"}


def test_every_pod_keeps_to_the_restricted_standard_and_more(manifests: list[Manifest]) -> None:
    labels = named(manifests, "Namespace", "stenoflow")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads_in(manifests):
        pod, name = pod_of(workload), workload["metadata"]["name"]
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 10_000, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        # A Service of ours must not put variables into pods: STENOFLOW_GATEWAY_PORT would be one of them.
        assert pod["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert all({"emptyDir", "configMap", "secret"} & volume.keys() for volume in pod.get("volumes", ())), name
    for name, container in containers_in(manifests):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert not any("hostPort" in port for port in container["ports"]), name
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not of_kind(manifests, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"), "nobody needs the API"


def test_every_container_says_what_it_needs(manifests: list[Manifest]) -> None:
    for name, container in containers_in(manifests):
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() >= {"cpu", "memory"}, f"{name}: {kind}"
        assert re.search(r":[\w.-]*\d[\w.-]*$|:dev$|@sha256:", container["image"]), f"{name} runs {container['image']}"
    for workload in workloads_in(manifests):
        if workload["metadata"]["name"] in WORKERS:
            assert pod_of(workload)["containers"][0]["resources"]["requests"]["cpu"] == "1", "one thread computes"


def test_every_workload_has_an_account_a_priority_and_a_budget(manifests: list[Manifest]) -> None:
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    priorities = {each["metadata"]["name"]: each["value"] for each in of_kind(manifests, "PriorityClass")}
    budgets = [each["spec"]["selector"]["matchLabels"] for each in of_kind(manifests, "PodDisruptionBudget")]
    for workload in workloads_in(manifests):
        name, labels = workload["metadata"]["name"], workload["spec"]["template"]["metadata"]["labels"]
        assert pod_of(workload)["serviceAccountName"] == name and name in accounts
        assert pod_of(workload)["priorityClassName"] in priorities
        assert sum(selector.items() <= labels.items() for selector in budgets) == 1, f"{name}: one budget"
    assert priorities["stenoflow-redis"] > priorities["stenoflow-call"] > priorities["stenoflow-second-pass"]


def test_in_production_no_zone_and_no_node_holds_all_of_one_kind(production: list[Manifest]) -> None:
    for workload in workloads_in(production):
        spread = {each["topologyKey"]: each for each in pod_of(workload)["topologySpreadConstraints"]}
        assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for each in spread.values():
            selector = each["labelSelector"]["matchLabels"]
            assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        if workload["metadata"]["name"] in ("redis", "redis-sentinel"):
            assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule", "a node may die"


def test_what_is_mounted_and_asked_for_is_there(manifests: list[Manifest]) -> None:
    there = {
        kind: {each["metadata"]["name"]: each for each in of_kind(manifests, kind)} for kind in ("ConfigMap", "Secret")
    }
    asked: set[tuple[str, str, str | None]] = set()
    for workload in workloads_in(manifests):
        for volume in pod_of(workload).get("volumes", ()):
            if "configMap" in volume:
                asked.add(("ConfigMap", volume["configMap"]["name"], None))
            if "secret" in volume:
                asked.add(("Secret", volume["secret"]["secretName"], None))
    for name, container in containers_in(manifests):
        mounts = [each["mountPath"] for each in container["volumeMounts"]]
        assert len(mounts) == len(set(mounts)), name
        for source in container.get("envFrom", ()):
            asked.add(("ConfigMap", source["configMapRef"]["name"], None))
        for variable in container.get("env", ()):
            for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if key in variable.get("valueFrom", {}):
                    reference = variable["valueFrom"][key]
                    asked.add((kind, reference["name"], reference["key"]))
    for kind, name, key in asked:
        if name not in MADE_BY_CERT_MANAGER:
            assert name in there[kind], f"{kind} {name}"
            assert key is None or key in {**there[kind][name].get("data", {})}, f"{kind} {name}: {key}"


def test_settings_are_those_of_the_classes(manifests: list[Manifest]) -> None:
    given: dict[str, str] = {}
    for config in of_kind(manifests, "ConfigMap"):
        if config["metadata"]["name"].startswith("settings-"):
            given |= config["data"]
    assert given
    for name, container in containers_in(manifests):
        for variable in container.get("env", ()):
            if variable["name"].startswith("STENOFLOW_"):
                assert variable["name"].startswith(f"STENOFLOW_{name.replace('-', '_').upper()}_"), variable
                given.setdefault(variable["name"], variable.get("value", ""))
    for name in given:
        (service,) = [each for each in SETTINGS if name.startswith(f"STENOFLOW_{each}_")]
        field = name.removeprefix(f"STENOFLOW_{service}_").lower()
        assert field in SETTINGS[service].model_fields, f"{name} is no setting"
    for service, settings in SETTINGS.items():
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                if value:
                    patch.setenv(name, value)
            told = settings()
        port = told.port if isinstance(told, GatewaySettings) else told.health_port  # type: ignore[attr-defined]
        workload = named(manifests, "Deployment", service.lower().replace("_", "-"))
        assert pod_of(workload)["containers"][0]["ports"][0]["containerPort"] == port
    assert len({value for name, value in given.items() if name.endswith("_SHARDS")}) == 1


def test_the_gateway_starts_with_the_secret_and_takes_tokens_made_with_the_file(
    manifests: list[Manifest], tree: Path, request: pytest.FixtureRequest
) -> None:
    overlay = request.node.callspec.params["manifests"]
    (container,) = pod_of(named(manifests, "Deployment", "gateway"))["containers"]
    (variable,) = [each for each in container["env"] if each["name"] == "STENOFLOW_GATEWAY_TOKEN_KEY"]
    reference = variable["valueFrom"]["secretKeyRef"]
    key = base64.b64decode(named(manifests, "Secret", reference["name"])["data"][reference["key"]]).decode()
    assert _check_host("0.0.0.0", GatewaySettings(token_key=key)) is None  # type: ignore[arg-type, func-returns-value]
    ours = Keyring.read("", tree / "overlays" / overlay / "secrets" / "token.key")
    theirs = Keyring.read(key, None)
    assert ours is not None and theirs is not None
    now = int(time.time())
    assert theirs.grant(ours.make("acme", ("publish",), now + 60, now)).tenant == "acme"


def test_tokens_of_the_old_key_count_until_it_is_retired(tmp_path: Path) -> None:
    overlay, now = empty_overlay(tmp_path / "overlay"), int(time.time())

    def keys(*options: str) -> Keyring:
        line = (make_secrets(overlay, *options) / "gateway-token-key.env").read_text().strip()
        found = Keyring.read(line.removeprefix("key="), None)
        assert found is not None
        return found

    before = keys()
    old = before.make("acme", ("publish",), now + 60, now)
    rotated = keys("--rotate")
    fresh = rotated.make("acme", ("publish",), now + 60, now)
    assert rotated.grant(old) == before.grant(old)
    with pytest.raises(AccessError):
        before.grant(fresh)
    retired = keys("--retire")
    assert retired.grant(fresh).tenant == "acme"
    with pytest.raises(AccessError):
        retired.grant(old)


def test_probes_ask_what_is_served(manifests: list[Manifest]) -> None:
    port = Health(CollectorRegistry(), lambda: True, lambda: False).serve("127.0.0.1", 0)

    def status(path: str) -> int:
        try:
            return int(urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).status)
        except urllib.error.HTTPError as error:
            return error.code

    gateway_routes = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())["paths"]
    for name in ("gateway", *WORKERS):
        workload = named(manifests, "Deployment", name)
        (container,) = pod_of(workload)["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
        assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
        ports = {container[f"{kind}Probe"]["httpGet"]["port"] for kind in paths}
        assert ports == {container["ports"][0]["name"]}
        if name == "gateway":
            assert set(paths.values()) <= gateway_routes.keys()
        else:
            assert (status(paths["liveness"]), status(paths["readiness"])) == (200, 503), "by progress, not by a port"


def test_liveness_is_patient_enough_for_a_redis_that_is_away(manifests: list[Manifest]) -> None:
    """A restart would not bring it back, and a worker that starts without one ends at once."""
    for name in WORKERS:
        probe = pod_of(named(manifests, "Deployment", name))["containers"][0]["livenessProbe"]
        assert ALIVE_S + probe["periodSeconds"] * probe["failureThreshold"] >= 120


def test_drains_have_the_time_they_need(manifests: list[Manifest]) -> None:
    for name in WORKERS:
        pod = pod_of(named(manifests, "Deployment", name))
        assert pod["terminationGracePeriodSeconds"] >= STUCK_S + 4
        assert "lifecycle" not in pod["containers"][0], "nothing is sent to a worker: it need not wait"
    pod = pod_of(named(manifests, "Deployment", "gateway"))
    wait_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait_s >= 5, "until no endpoint list names it"
    assert pod["terminationGracePeriodSeconds"] >= wait_s + DRAIN_S + 1 + 5
    for name in ("gateway", "redis-proxy", *WORKERS):
        update = named(manifests, "Deployment", name)["spec"]["strategy"]["rollingUpdate"]
        assert update == {"maxSurge": 1, "maxUnavailable": 0}, "first a new one, then an old one leaves"
