"""Every console script that the package declares exists and explains itself."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

SCRIPTS = sorted(each.name for each in entry_points(group="console_scripts") if each.value.startswith("stenoflow_"))


def test_all_services_have_a_script() -> None:
    services = ("acoustic", "decoder", "features", "gateway", "second-pass", "train")
    assert set(SCRIPTS) == {"stenoflow", *(f"stenoflow-{name}" for name in services)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_its_help_can_be_read(script: str) -> None:
    command = [Path(sys.executable).with_name(script), "--help"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert "usage" in run.stdout.lower()
    for empty in ("VALUE", "(default: )", "(default: measured)", "``"):
        assert empty not in run.stdout
