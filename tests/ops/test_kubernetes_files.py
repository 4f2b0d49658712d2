"""The manifests of ``k8s/``: that they render, are valid, and hold no secret.

No API server is here, so nothing is admitted or scheduled. What can be had offline is used: kustomize renders,
kubernetes-validate knows the schemas of Kubernetes, npm packages those of KEDA, the Prometheus operator and
cert-manager; checkov has its say where it is installed. Where one is missing its test says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.ops.overlays import (
    K8S,
    OVERLAYS,
    ROOT,
    Manifest,
    kustomize,
    named,
    needs_kustomize,
    pod_of,
    rendered,
)

VERSIONS = ("1.32", "1.37")
CUSTOM = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1", "cert-manager.io/v1"}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_and_has_no_unknown_field(manifests: list[Manifest], version: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed (pip)")
    for each in manifests:
        if each["apiVersion"] not in CUSTOM:
            validate.validate(each, version, strict=True)


def test_the_validator_refuses_an_unknown_field(production: list[Manifest]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed (pip)")
    broken = json.loads(json.dumps(named(production, "Deployment", "gateway")))
    pod_of(broken)["containers"][0]["livenessProb"] = {}
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
    unknown, wrong = (json.loads(json.dumps(named(production, "ScaledObject", "decoder"))) for _ in range(2))
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
    (container,) = pod_of(named(rendered(alone), "Deployment", "acoustic"))["containers"]
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
