"""The manifests of ``k8s/``: what scales it, what is measured, and when alerts go off.

No API server is here, so nothing is admitted or scheduled. promtool has its say where it is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from stenoflow.bus.records import OF_A_BUNDLE, Stages
from stenoflow.bus.redis.keys import claims_key
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_decoder import __main__ as decoder
from stenoflow_decoder.metrics import DecoderMetrics
from stenoflow_decoder.settings import DecoderSettings
from stenoflow_features import __main__ as features
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_gateway.measures.metrics import GatewayMetrics
from stenoflow_second_pass.metrics import SecondPassMetrics
from stenoflow_second_pass.models.moonshine import NAME
from tests.ops.overlays import (
    K8S,
    ROOT,
    WORKERS,
    Manifest,
    named,
    of_kind,
    pod_of,
    workloads_in,
)


def test_each_stage_scales_by_its_open_tracks_and_never_to_none(production: list[Manifest]) -> None:
    for name, stage in WORKERS.items():
        spec = named(production, "ScaledObject", name)["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        assert spec["minReplicaCount"] == 1 and "idleReplicaCount" not in spec
        (trigger,) = [each for each in spec["triggers"] if each["type"] == "redis-streams"]
        # Workers that are told no bundle serve the one of their settings' default.
        model = DecoderSettings().bundle if stage in OF_A_BUNDLE else ""
        if stage is Stages.SECOND_PASS:
            variables = pod_of(named(production, "Deployment", name))["containers"][0]["env"]
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
        assert "replicas" not in named(production, "Deployment", name)["spec"], "each apply would undo the autoscaler"


@pytest.mark.parametrize(("name", "places"), [("features", features.PLACES), ("decoder", decoder.PLACES)])
def test_more_workers_are_asked_for_before_calls_are_refused(
    production: list[Manifest], name: str, places: int
) -> None:
    """Admission keeps the places of one worker free; the autoscaler acts at 1.1 times its target only."""
    triggers = named(production, "ScaledObject", name)["spec"]["triggers"]
    target = int(next(each["metadata"]["streamLength"] for each in triggers if each["type"] == "redis-streams"))
    for workers in range(1, 50):
        admitted = places * (workers - 1 if workers > 1 else 1)
        assert 1.1 * target * workers < admitted, f"{workers} workers: stuck at {admitted} tracks"


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
    for rule in of_kind(production, "PrometheusRule"):
        for group in rule["spec"]["groups"]:
            yield from ((each["alert"], each["expr"]) for each in group["rules"])
    for scaled in of_kind(production, "ScaledObject"):
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
    alerts = [
        rule for each in of_kind(production, "PrometheusRule") for g in each["spec"]["groups"] for rule in g["rules"]
    ]
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
    for monitor in of_kind(production, "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        chosen = [
            {port["name"] for each in pod_of(workload)["containers"] for port in each["ports"]}
            for workload in workloads_in(production)
            if wanted.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert chosen
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert all(endpoint["port"] in ports for ports in chosen)
    for monitor in of_kind(production, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [
            each for each in of_kind(production, "Service") if wanted.items() <= each["metadata"]["labels"].items()
        ]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_alerts_go_off_when_they_should_and_only_then(production: list[Manifest], tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian 12: prometheus)")
    (rule,) = of_kind(production, "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(ROOT / "tests" / "ops" / "alerts.yaml", tmp_path)
    for command in (("check", "rules", "rules.yaml"), ("test", "rules", "alerts.yaml")):
        told = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert told.returncode == 0, told.stdout + told.stderr
