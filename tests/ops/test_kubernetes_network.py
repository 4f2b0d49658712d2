"""The manifests of ``k8s/``: who may talk to whom, what the world reaches, and TLS.

No API server is here, so nothing is admitted or scheduled.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

from stenoflow_gateway.settings import GatewaySettings
from tests.ops.overlays import (
    ROOT,
    WORKERS,
    Manifest,
    named,
    of_kind,
    pod_of,
    workloads_in,
)


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
    policies = of_kind(production, "NetworkPolicy")
    deny = named(production, "NetworkPolicy", "deny-all")["spec"]
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
            {port["containerPort"] for each in pod_of(workload)["containers"] for port in each["ports"]},
        )
        for workload in workloads_in(production)
    ]
    for policy in of_kind(production, "NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        chosen = [ports for labels, ports in pods if wanted.items() <= labels.items()]
        assert chosen, policy["metadata"]["name"]
        for rule in policy["spec"].get("ingress", ()):
            assert all({port["port"] for port in rule["ports"]} <= ports for ports in chosen)
    for service in of_kind(production, "Service"):
        wanted = service["spec"]["selector"]
        assert any(wanted.items() <= labels.items() for labels, _ in pods), service["metadata"]["name"]


def test_the_world_reaches_what_asks_for_tokens_and_the_page_alone(production: list[Manifest]) -> None:
    ingress = named(production, "Ingress", "gateway")
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
    (settings,) = (each["data"] for each in of_kind(production, "ConfigMap") if "settings" in each["metadata"]["name"])
    taken = int(settings.get("STENOFLOW_GATEWAY_FILE_MB", GatewaySettings.model_fields["file_mb"].default))
    whole, files = (named(production, "Ingress", name) for name in ("gateway", "gateway-files"))
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
    for secret in of_kind(production, "Secret"):
        for name, value in secret.get("data", {}).items():
            if name == "url":
                url = base64.b64decode(value).decode()
                assert url.startswith("rediss://"), secret["metadata"]["name"]
                (ca_path,) = re.findall(r"ssl_ca_certs=(\S+)", url)
    for name in ("gateway", *WORKERS):
        (container,) = pod_of(named(production, "Deployment", name))["containers"]
        assert str(Path(ca_path).parent) in {each["mountPath"] for each in container["volumeMounts"]}
    for name in ("redis", "redis-sentinel"):
        (container,) = pod_of(named(production, "StatefulSet", name))["containers"]
        told = {each["name"]: each.get("value", "") for each in container["env"]}
        assert told["TLS_ARGUMENTS"].startswith("--port 0 --tls-port ") and "--tls " in told["CLI_ARGUMENTS"] + " "
    for scaled in of_kind(production, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            if trigger["type"] == "redis-streams":
                assert trigger["metadata"]["enableTLS"] == "true"
                host = trigger["metadata"]["address"].partition(":")[0]
                assert host in named(production, "Certificate", "redis-tls")["spec"]["dnsNames"]
