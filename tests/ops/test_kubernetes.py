"""The manifests of ``k8s/``: that they render, are valid, and say what the code and the design say.

No API server is here, so nothing is admitted or scheduled. What can be had offline is used: kustomize renders,
kubernetes-validate knows the schemas of Kubernetes, npm packages those of KEDA, the Prometheus operator and
cert-manager; promtool and checkov have their say where they are installed. Where one is missing its test says so.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from pydantic_settings import BaseSettings

from stenoflow.bus.records import OF_A_BUNDLE, Stages
from stenoflow.bus.redis.keys import claims_key
from stenoflow.runtime.health import Health
from stenoflow.runtime.loop import ALIVE_S, STUCK_S
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_decoder import __main__ as decoder
from stenoflow_decoder.metrics import DecoderMetrics
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features import __main__ as features
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_features.settings import FeaturesSettings
from stenoflow_gateway.__main__ import _check_host
from stenoflow_gateway.access.bearer import Keyring
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.gateway import DRAIN_S
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_gateway.settings import GatewaySettings
from stenoflow_second_pass.metrics import SecondPassMetrics
from stenoflow_second_pass.models.moonshine import NAME
from stenoflow_second_pass.settings import SecondPassSettings
from tests.ops.overlays import (
    K8S,
    OVERLAYS,
    ROOT,
    Manifest,
    empty_overlay,
    kustomize,
    make_secrets,
    needs_kustomize,
    rendered,
)

SETTINGS: Mapping[str, type[BaseSettings]] = {
    "GATEWAY": GatewaySettings,
    "FEATURES": FeaturesSettings,
    "ACOUSTIC": AcousticSettings,
    "DECODER": DecoderSettings,
    "SECOND_PASS": SecondPassSettings,
}
WORKERS = {
    "features": Stages.FEATURES,
    "acoustic": Stages.ACOUSTIC,
    "decoder": Stages.DECODER,
    "second-pass": Stages.SECOND_PASS,
}
VERSIONS = ("1.32", "1.37")
CUSTOM = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1", "cert-manager.io/v1"}
MADE_BY_CERT_MANAGER = {"redis-tls", "gateway-tls", "redis-ca"}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``k8s/`` with fresh secrets in every overlay."""
    needs_kustomize()
    copy = tmp_path_factory.mktemp("manifests") / "k8s"
    shutil.copytree(K8S, copy, ignore=shutil.ignore_patterns("secrets"))
    for overlay, options in OVERLAYS.items():
        make_secrets(copy / "overlays" / overlay, *options)
    return copy


@pytest.fixture(scope="session")
def overlays(tree: Path) -> dict[str, list[Manifest]]:
    return {overlay: rendered(tree / "overlays" / overlay) for overlay in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, overlays: dict[str, list[Manifest]]) -> list[Manifest]:
    """The objects of each overlay."""
    return overlays[request.param]


@pytest.fixture
def production(overlays: dict[str, list[Manifest]]) -> list[Manifest]:
    return overlays["production"]


def _of(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in kinds]


def _named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [each for each in _of(manifests, kind) if each["metadata"]["name"] == name]
    return found


def _workloads(manifests: list[Manifest]) -> list[Manifest]:
    return _of(manifests, "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def _pod(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def _containers(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for workload in _workloads(manifests):
        for container in [*_pod(workload)["containers"], *_pod(workload).get("initContainers", ())]:
            yield workload["metadata"]["name"], container


# ---------------------------------------------------------------- schemas


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_and_has_no_unknown_field(manifests: list[Manifest], version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed (pip)")
    for each in manifests:
        if each["apiVersion"] not in CUSTOM:
            validate.validate(each, version, strict=True)


def test_the_validator_refuses_an_unknown_field(production: list[Manifest]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed (pip)")
    broken = json.loads(json.dumps(_named(production, "Deployment", "gateway")))
    _pod(broken)["containers"][0]["livenessProb"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(broken, VERSIONS[0], strict=True)


def _check_custom(objects: list[Manifest]) -> str:
    folder = ROOT / "tests" / "ops" / "schemas"
    if shutil.which("node") is None or not (folder / "node_modules").is_dir():
        pytest.skip("the schemas of custom resources are missing: npm ci --prefix tests/ops/schemas")
    told = subprocess.run(
        ["node", str(folder / "check.mjs")], input=json.dumps(objects), capture_output=True, text=True, timeout=100
    )
    assert told.returncode in (0, 1) and not told.stderr, told.stderr
    return told.stdout


def test_custom_resources_are_valid_and_have_no_unknown_field(production: list[Manifest]) -> None:
    objects = [each for each in production if each["apiVersion"] in CUSTOM]
    kinds = {each["kind"] for each in objects}
    assert kinds == {
        "ScaledObject", "TriggerAuthentication", "PodMonitor", "ServiceMonitor", "PrometheusRule", "Certificate",
        "Issuer",
    }  # fmt: skip
    assert _check_custom(objects) == ""


def test_the_check_of_custom_resources_finds_wrong_types_and_unknown_fields(production: list[Manifest]) -> None:
    unknown, wrong = (json.loads(json.dumps(_named(production, "ScaledObject", "decoder"))) for _ in range(2))
    unknown["spec"]["minReplicas"] = 1
    wrong["spec"]["triggers"][0]["metadata"]["streamLength"] = 50
    told = _check_custom([unknown, wrong])
    assert "streamLength must be string" in told and "'\"minReplicas\"' does not exist" in told


def test_checkov_finds_nothing_that_is_not_explained(tree: Path) -> None:
    if shutil.which("checkov") is None:
        pytest.skip("checkov is not installed (pip, in an environment of its own)")
    for overlay in OVERLAYS:
        path = tree / f"{overlay}.yaml"
        path.write_text(yaml.safe_dump_all(each for each in rendered(tree / "overlays" / overlay)))
        told = subprocess.run(
            ["checkov", "--config-file", str(K8S / "checkov.yaml"), "--file", str(path)],
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert told.returncode == 0, told.stdout + told.stderr


# ---------------------------------------------------------------- pods


def test_every_pod_keeps_to_the_restricted_standard_and_more(manifests: list[Manifest]) -> None:
    labels = _named(manifests, "Namespace", "stenoflow")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in _workloads(manifests):
        pod, name = _pod(workload), workload["metadata"]["name"]
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 10_000, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        # A Service of ours must not put variables into pods: STENOFLOW_GATEWAY_PORT would be one of them.
        assert pod["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert all({"emptyDir", "configMap", "secret"} & volume.keys() for volume in pod.get("volumes", ())), name
    for name, container in _containers(manifests):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert not any("hostPort" in port for port in container["ports"]), name
    for account in _of(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not _of(manifests, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"), "nobody needs the API"


def test_every_container_says_what_it_needs(manifests: list[Manifest]) -> None:
    for name, container in _containers(manifests):
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() >= {"cpu", "memory"}, f"{name}: {kind}"
        assert re.search(r":[\w.-]*\d[\w.-]*$|:dev$|@sha256:", container["image"]), f"{name} runs {container['image']}"
    for workload in _workloads(manifests):
        if workload["metadata"]["name"] in WORKERS:
            assert _pod(workload)["containers"][0]["resources"]["requests"]["cpu"] == "1", "one thread computes"


def test_every_workload_has_an_account_a_priority_and_a_budget(manifests: list[Manifest]) -> None:
    accounts = {each["metadata"]["name"] for each in _of(manifests, "ServiceAccount")}
    priorities = {each["metadata"]["name"]: each["value"] for each in _of(manifests, "PriorityClass")}
    budgets = [each["spec"]["selector"]["matchLabels"] for each in _of(manifests, "PodDisruptionBudget")]
    for workload in _workloads(manifests):
        name, labels = workload["metadata"]["name"], workload["spec"]["template"]["metadata"]["labels"]
        assert _pod(workload)["serviceAccountName"] == name and name in accounts
        assert _pod(workload)["priorityClassName"] in priorities
        assert sum(selector.items() <= labels.items() for selector in budgets) == 1, f"{name}: one budget"
    assert priorities["stenoflow-redis"] > priorities["stenoflow-call"] > priorities["stenoflow-second-pass"]


def test_in_production_no_zone_and_no_node_holds_all_of_one_kind(production: list[Manifest]) -> None:
    for workload in _workloads(production):
        spread = {each["topologyKey"]: each for each in _pod(workload)["topologySpreadConstraints"]}
        assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for each in spread.values():
            selector = each["labelSelector"]["matchLabels"]
            assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        if workload["metadata"]["name"] in ("redis", "redis-sentinel"):
            assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule", "a node may die"


def test_what_is_mounted_and_asked_for_is_there(manifests: list[Manifest]) -> None:
    there = {
        kind: {each["metadata"]["name"]: each for each in _of(manifests, kind)} for kind in ("ConfigMap", "Secret")
    }
    asked: set[tuple[str, str, str | None]] = set()
    for workload in _workloads(manifests):
        for volume in _pod(workload).get("volumes", ()):
            if "configMap" in volume:
                asked.add(("ConfigMap", volume["configMap"]["name"], None))
            if "secret" in volume:
                asked.add(("Secret", volume["secret"]["secretName"], None))
    for name, container in _containers(manifests):
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


# ---------------------------------------------------------------- what the code says


def test_settings_are_those_of_the_classes(manifests: list[Manifest]) -> None:
    given: dict[str, str] = {}
    for config in _of(manifests, "ConfigMap"):
        if config["metadata"]["name"].startswith("settings-"):
            given |= config["data"]
    assert given
    for name, container in _containers(manifests):
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
        workload = _named(manifests, "Deployment", service.lower().replace("_", "-"))
        assert _pod(workload)["containers"][0]["ports"][0]["containerPort"] == port
    assert len({value for name, value in given.items() if name.endswith("_SHARDS")}) == 1


def test_the_gateway_starts_with_the_secret_and_takes_tokens_made_with_the_file(
    manifests: list[Manifest], tree: Path, request: pytest.FixtureRequest
) -> None:
    overlay = request.node.callspec.params["manifests"]
    (container,) = _pod(_named(manifests, "Deployment", "gateway"))["containers"]
    (variable,) = [each for each in container["env"] if each["name"] == "STENOFLOW_GATEWAY_TOKEN_KEY"]
    reference = variable["valueFrom"]["secretKeyRef"]
    key = base64.b64decode(_named(manifests, "Secret", reference["name"])["data"][reference["key"]]).decode()
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
        workload = _named(manifests, "Deployment", name)
        (container,) = _pod(workload)["containers"]
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
        probe = _pod(_named(manifests, "Deployment", name))["containers"][0]["livenessProbe"]
        assert ALIVE_S + probe["periodSeconds"] * probe["failureThreshold"] >= 120


def test_drains_have_the_time_they_need(manifests: list[Manifest]) -> None:
    for name in WORKERS:
        pod = _pod(_named(manifests, "Deployment", name))
        assert pod["terminationGracePeriodSeconds"] >= STUCK_S + 4
        assert "lifecycle" not in pod["containers"][0], "nothing is sent to a worker: it need not wait"
    pod = _pod(_named(manifests, "Deployment", "gateway"))
    wait_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait_s >= 5, "until no endpoint list names it"
    assert pod["terminationGracePeriodSeconds"] >= wait_s + DRAIN_S + 1 + 5
    for name in ("gateway", "redis-proxy", *WORKERS):
        update = _named(manifests, "Deployment", name)["spec"]["strategy"]["rollingUpdate"]
        assert update == {"maxSurge": 1, "maxUnavailable": 0}, "first a new one, then an old one leaves"


# ---------------------------------------------------------------- network


def _who(selector: Manifest) -> str:
    pod = ",".join(sorted(selector.get("podSelector", {}).get("matchLabels", {}).values())) or "*"
    space = selector.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
    return f"{space}/{pod}" if space else pod


def _flows(policies: list[Manifest], direction: str) -> set[tuple[str, str, int]]:
    """(from, to, port) as the policies of one direction allow them."""
    side, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    found = set()
    for policy in policies:
        own = _who({"podSelector": policy["spec"]["podSelector"]})
        for rule in policy["spec"].get(side, ()):
            for peer in rule[peers]:
                for port in rule["ports"]:
                    pair = (_who(peer), own) if direction == "Ingress" else (own, _who(peer))
                    found.add((*pair, port["port"]))
    return found


def test_exactly_the_flows_that_are_needed_are_allowed(production: list[Manifest]) -> None:
    policies = _of(production, "NetworkPolicy")
    deny = _named(production, "NetworkPolicy", "deny-all")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    inner = {
        ("gateway", "redis-proxy", 6379),
        ("worker", "redis-proxy", 6379),
        ("redis-proxy", "redis", 6379),
        ("redis-proxy", "redis-sentinel", 26379),
        ("redis", "redis", 6379),
        ("redis", "redis-sentinel", 26379),
        ("redis-sentinel", "redis", 6379),
        ("redis-sentinel", "redis-sentinel", 26379),
    }
    assert _flows(policies, "Egress") == inner | {("*", "kube-system/kube-dns", 53)}
    assert _flows(policies, "Ingress") == inner | {
        ("ingress-nginx/controller", "gateway", 8000),
        ("monitoring/prometheus", "gateway", 8000),
        ("monitoring/prometheus", "worker", 9000),
        ("monitoring/prometheus", "redis-proxy", 8404),
        ("keda/keda-operator", "redis-proxy", 6379),
    }


def test_policies_name_pods_and_ports_that_are_there(production: list[Manifest]) -> None:
    pods = [
        (
            workload["spec"]["template"]["metadata"]["labels"],
            {port["containerPort"] for each in _pod(workload)["containers"] for port in each["ports"]},
        )
        for workload in _workloads(production)
    ]
    for policy in _of(production, "NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        chosen = [ports for labels, ports in pods if wanted.items() <= labels.items()]
        assert chosen, policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", ()):
            assert all({port["port"] for port in rule["ports"]} <= ports for ports in chosen)
    for service in _of(production, "Service"):
        wanted = service["spec"]["selector"]
        assert any(wanted.items() <= labels.items() for labels, _ in pods), service["metadata"]["name"]


def test_the_world_reaches_what_asks_for_tokens_and_the_page_alone(production: list[Manifest]) -> None:
    ingress = _named(production, "Ingress", "gateway")
    (rule,) = ingress["spec"]["rules"]
    paths = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
    assert ("/v1", "Prefix") in paths and ("/", "Exact") in paths
    for inner in ("/metrics", "/healthz", "/readyz", "/latency"):  # the operators', from inside the cluster
        assert not any(inner == path or (kind == "Prefix" and inner.startswith(path)) for path, kind in paths)
    public = ROOT / "gateway-js" / "public"
    for path in public.iterdir():
        if path.name not in ("index.html", "latency"):
            assert (f"/{path.name}", "Prefix" if path.is_dir() else "Exact") in paths, path.name
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]


def test_recordings_come_in_as_large_as_the_gateway_takes_them_and_nothing_else_is_large(
    production: list[Manifest],
) -> None:
    (settings,) = (each["data"] for each in _of(production, "ConfigMap") if "settings" in each["metadata"]["name"])
    taken = int(settings.get("STENOFLOW_GATEWAY_FILE_MB", GatewaySettings.model_fields["file_mb"].default))
    whole, files = (_named(production, "Ingress", name) for name in ("gateway", "gateway-files"))
    limit = "nginx.ingress.kubernetes.io/proxy-body-size"
    assert files["metadata"]["annotations"][limit] == f"{taken}m"  # 2^20 bytes to both
    assert whole["metadata"]["annotations"][limit] == "16k"
    (rule,) = files["spec"]["rules"]
    assert rule["host"] == whole["spec"]["rules"][0]["host"] and files["spec"]["tls"] == whole["spec"]["tls"]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/v1/files", "Exact")
    (of_api,) = (each["backend"] for each in whole["spec"]["rules"][0]["http"]["paths"] if each["path"] == "/v1")
    assert path["backend"] == of_api


def test_with_tls_nobody_speaks_to_redis_without(production: list[Manifest]) -> None:
    for secret in _of(production, "Secret"):
        for name, value in secret.get("data", {}).items():
            if name == "url":
                url = base64.b64decode(value).decode()
                assert url.startswith("rediss://"), secret["metadata"]["name"]
                (ca_path,) = re.findall(r"ssl_ca_certs=(\S+)", url)
    for name in ("gateway", *WORKERS):
        (container,) = _pod(_named(production, "Deployment", name))["containers"]
        assert str(Path(ca_path).parent) in {each["mountPath"] for each in container["volumeMounts"]}
    for name in ("redis", "redis-sentinel"):
        (container,) = _pod(_named(production, "StatefulSet", name))["containers"]
        told = {each["name"]: each.get("value", "") for each in container["env"]}
        assert told["TLS_ARGUMENTS"].startswith("--port 0 --tls-port ") and "--tls " in told["CLI_ARGUMENTS"] + " "
    for scaled in _of(production, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "redis-streams":
                assert trigger["metadata"]["enableTLS"] == "true"
                host = trigger["metadata"]["address"].partition(":")[0]
                assert host in _named(production, "Certificate", "redis-tls")["spec"]["dnsNames"]


# ---------------------------------------------------------------- scaling


def test_each_stage_scales_by_its_open_tracks_and_never_to_none(production: list[Manifest]) -> None:
    for name, stage in WORKERS.items():
        spec = _named(production, "ScaledObject", name)["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["minReplicaCount"] == 1 and "idleReplicaCount" not in spec
        (trigger,) = [each for each in spec["triggers"] if each["type"] == "redis-streams"]
        # Workers that are told no bundle serve the one of their settings' default.
        model = DecoderSettings().bundle if stage in OF_A_BUNDLE else ""
        if stage is Stages.SECOND_PASS:
            variables = _pod(_named(production, "Deployment", name))["containers"][0]["env"]
            (model,) = [each["value"] for each in variables if each["name"] == "STENOFLOW_SECOND_PASS_MODEL"]
            assert model == NAME
        assert trigger["metadata"]["stream"] == claims_key("{s00}", stage, model)
        assert "streamLength" in trigger["metadata"]
        # With a group KEDA counts what is pending, which is 0 where no worker is (kedacore/keda#2819).
        assert not {"consumerGroup", "pendingEntriesCount", "lagCount"} & trigger["metadata"].keys()
        assert any(each["type"] == "prometheus" for each in spec["triggers"])
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 600
        assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
    for name in (*WORKERS, "gateway"):
        assert "replicas" not in _named(production, "Deployment", name)["spec"], "each apply would undo the autoscaler"


@pytest.mark.parametrize(("name", "places"), [("features", features.PLACES), ("decoder", decoder.PLACES)])
def test_more_workers_are_asked_for_before_calls_are_refused(
    production: list[Manifest], name: str, places: int
) -> None:
    """Admission keeps the places of one worker free; the autoscaler acts at 1.1 times its target only."""
    triggers = _named(production, "ScaledObject", name)["spec"]["triggers"]
    target = int(next(each["metadata"]["streamLength"] for each in triggers if each["type"] == "redis-streams"))
    for workers in range(1, 50):
        admitted = places * (workers - 1 if workers > 1 else 1)
        assert 1.1 * target * workers < admitted, f"{workers} workers: stuck at {admitted} tracks"


# ---------------------------------------------------------------- metrics and alerts


@pytest.fixture(scope="session")
def metrics() -> dict[str, set[str]]:
    """Every series that the code exports, with its labels."""
    found: dict[str, set[str]] = {}
    for make in (
        lambda registry: WorkerMetrics("features", registry), AcousticMetrics, DecoderMetrics, FeaturesMetrics,
        SecondPassMetrics, lambda registry: GatewayMetrics(registry, lambda: 0.0, lambda: 0),
    ):  # fmt: skip
        registry = CollectorRegistry()
        make(registry)
        for collector, names in registry._collector_to_names.items():
            for name in names:
                found[name] = {*getattr(collector, "_labelnames", ()), *({"le"} if name.endswith("_bucket") else ())}
    return found


def _queries(production: list[Manifest]) -> Iterator[tuple[str, str]]:
    for rule in _of(production, "PrometheusRule"):
        for group in rule["spec"]["groups"]:
            yield from ((each["alert"], each["expr"]) for each in group["rules"])
    for scaled in _of(production, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                yield scaled["metadata"]["name"], trigger["metadata"]["query"]


def test_alerts_and_scaling_ask_for_metrics_that_exist(
    production: list[Manifest], metrics: dict[str, set[str]]
) -> None:
    from_scraping = {"job", "pod", "namespace"}
    for name, query in _queries(production):
        asked = re.findall(r"\b(stenoflow_\w+)(?:\{([^}]*)\})?", query)
        assert asked, name
        for metric, matchers in asked:
            assert metric in metrics, f"{name}: {metric}"
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                assert label in metrics[metric] | from_scraping, f"{name}: {metric} has no label {label}"


def test_every_alert_leads_to_a_heading_of_the_runbook(production: list[Manifest]) -> None:
    places = (ROOT / "docs" / "runbook.md", K8S / "runbook.md")
    text = next(path for path in places if path.is_file()).read_text()
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    }
    alerts = [rule for each in _of(production, "PrometheusRule") for g in each["spec"]["groups"] for rule in g["rules"]]
    assert len(alerts) >= 10
    for alert in alerts:
        url, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert url.endswith("/docs/runbook.md") and anchor in anchors, alert["alert"]
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert f"*{alert['alert']}" in text or f", {alert['alert']}" in text, (
            f"the runbook does not name {alert['alert']}"
        )
    for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
        assert anchor in anchors, f"the runbook leads to {anchor}, which is not there"


def test_monitors_name_ports_that_pods_have(production: list[Manifest]) -> None:
    for monitor in _of(production, "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        chosen = [
            {port["name"] for each in _pod(workload)["containers"] for port in each["ports"]}
            for workload in _workloads(production)
            if wanted.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert chosen
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert all(endpoint["port"] in ports for ports in chosen)
    for monitor in _of(production, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [
            each for each in _of(production, "Service") if wanted.items() <= each["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_alerts_go_off_when_they_should_and_only_then(production: list[Manifest], tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian 12: prometheus)")
    (rule,) = _of(production, "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(ROOT / "tests" / "ops" / "alerts.yaml", tmp_path)
    for command in (("check", "rules", "rules.yaml"), ("test", "rules", "alerts.yaml")):
        told = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert told.returncode == 0, told.stdout + told.stderr


# ---------------------------------------------------------------- files


def test_no_secret_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "k8s"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split()  # fmt: skip
    assert listed and not [path for path in listed if "/secrets/" in path or "passwords" in path]
    ignored = subprocess.run(
        ["git", "check-ignore", "k8s/overlays/production/secrets/passwords.json"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert ignored.returncode == 0


def test_components_stand_alone(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each can be added to the base without the others."""
    alone = tree / "overlays" / "alone"
    alone.mkdir(exist_ok=True)
    components = ("gpu", "autoscaling", "network-policy", "monitoring", "tls", "second-pass")
    for component in components:
        text = (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: stenoflow\n"
            f"resources: [../../base]\ncomponents: [../../components/{component}, ../production/secrets]\n"
        )
        (alone / "kustomization.yaml").write_text(text)
        assert len(rendered(alone)) > 30, component
    (alone / "kustomization.yaml").write_text(text.replace("second-pass", "gpu"))
    (container,) = _pod(_named(rendered(alone), "Deployment", "acoustic"))["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "STENOFLOW_ACOUSTIC_DEVICE", "value": "cuda"} in container["env"]


def test_scripts_are_shell() -> None:
    for script in sorted((K8S / "base" / "redis").glob("*.sh")):
        told = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, timeout=30)
        assert told.returncode == 0, told.stderr


def test_what_is_missing_here_is_said() -> None:
    """Only to say it: without kustomize no test above looks at a manifest."""
    if not kustomize():
        needs_kustomize()
