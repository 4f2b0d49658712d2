"""What ``k8s/`` renders to, made once for all tests that look at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ops.overlays import (
    K8S,
    OVERLAYS,
    Manifest,
    make_secrets,
    needs_kustomize,
    rendered,
)


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
