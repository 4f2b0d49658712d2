"""The Locust front makes the same calls and reports the same measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.pipeline.calls import ROOT
from tests.stack import StackProcess

WANTED = {"word", "first_partial", "final", "chunk"}


@pytest.mark.faults
@pytest.mark.timeout(180)
@pytest.mark.skipif(find_spec("locust") is None, reason="locust is missing: pip install -e '.[load]'")
def test_a_headless_run_reports_our_measures(stack: StackProcess) -> None:
    host = stack.stream_url.removesuffix("/v1/stream")
    options = ["--headless", "--users", "2", "--spawn-rate", "2", "--run-time", "25s", "--stop-timeout", "40", "--json"]
    # A process of its own: locust patches the interpreter that it is in.
    run = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "load_tests/locustfile.py", "--host", host, *options],
        cwd=ROOT,
        env={**os.environ, "CALL_SECONDS": "12"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found = {line["name"]: line for line in json.loads(run.stdout)}
    assert found.keys() >= WANTED
    calls = [line for name, line in found.items() if name.startswith("call, ")]
    assert {name for name in found if name.startswith("call, ")} == {"call, telephone", "call, browser"}
    assert sum(line["num_requests"] for line in calls) >= 2
    assert sum(line["num_failures"] for line in calls) == 0
