"""Dashboards: the committed files are the script's, and every query has data under a call, from a real Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
import yaml
from docs.pages.metrics import SERVICES, described
from k8s.make_dashboards import DASHBOARDS, FOLDER, dashboard

from stenoflow.protocol import messages as wire
from tests.ops.watching import Prometheus, addresses, free_port, program, prometheus, redis_of
from tests.pipeline.calls import speak
from tests.stack import StackProcess

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in FOLDER.glob("*.json"))
GPU = "stenoflow_accelerator_"
EXPORTER = "prometheus-redis-exporter"


def queries(name: str) -> list[tuple[str, str]]:
    """All queries of a dashboard, with the panel that asks."""
    panels = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


# ---------------------------------------------------------------- files


def test_files_are_those_of_the_script() -> None:
    assert set(FILES) == set(DASHBOARDS), "run python3 -m k8s.make_dashboards"
    for name in FILES:
        made = dashboard(name)
        assert json.loads((FOLDER / f"{name}.json").read_text("utf-8")) == made, "run python3 -m k8s.make_dashboards"
        assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
        assert all(panel["description"] and panel["targets"] for panel in made["panels"])


def test_kubernetes_mounts_every_file() -> None:
    component = yaml.safe_load((FOLDER.parent / "kustomization.yaml").read_text())
    (generated,) = component["configMapGenerator"]
    assert sorted(generated["files"]) == [f"dashboards/{name}.json" for name in FILES]


def test_dashboards_and_alerts_ask_for_metrics_that_exist_and_with_their_labels() -> None:
    known = {each.name: set(each.labels) for _, declare in SERVICES.values() for each in described(declare)}
    rules = yaml.safe_load((FOLDER.parent / "rules.yaml").read_text())["spec"]["groups"]
    asked = [(each["alert"], each["expr"]) for group in rules for each in group["rules"]]
    asked += [each for name in FILES for each in queries(name)]
    for who, query in asked:
        for series, matchers in re.findall(r"\b(stenoflow_\w+)(?:\{([^}]*)\})?", query):
            name = re.sub(r"_(bucket|sum|count)$", "", series) if series not in known else series
            assert name in known, f"{who}: {series}"
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) - {"le", "job"}
            assert labels <= known[name], f"{who}: {series} has no label {labels - known[name]}"


# ---------------------------------------------------------------- a running stack


@pytest.fixture(scope="module")
def watched(full_stack: StackProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus over the stack, after one call and one client that did wrong."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    targets = addresses(full_stack)
    with _redis_exporter(full_stack, targets, folder), prometheus(targets, folder) as server:
        asyncio.run(_calls(full_stack))
        yield server


async def _calls(stack: StackProcess) -> None:
    protocol = websockets.Subprotocol(wire.SUBPROTOCOL)
    async with websockets.connect(stack.stream_url, subprotocols=[protocol]) as client:
        await client.send("no json")
        await client.wait_closed()
    await speak(stack.stream_url, pace=1.0)


def _redis_exporter(
    stack: StackProcess, targets: dict[str, list[str]], folder: Path
) -> contextlib.AbstractContextManager[Any]:
    binary = shutil.which(EXPORTER) or shutil.which("redis_exporter")
    if binary is None:
        return contextlib.nullcontext()
    targets["redis"] = [f"127.0.0.1:{free_port()}"]
    command = [binary, f"--redis.addr={redis_of(stack)}", f"--web.listen-address={targets['redis'][0]}"]
    return program(command, folder / "redis-exporter.log")


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FILES)
def test_every_query_returns_data(watched: Prometheus, name: str) -> None:
    exporter = bool(watched.values('up{job="redis"}'))
    empty = []
    for panel, query in queries(name):
        values = watched.values(query.replace("$__rate_interval", "1m"))
        nothing_here = GPU in query or ("redis_" in query and "stenoflow_redis" not in query and not exporter)
        if not values and not nothing_here:
            empty.append((panel, query))
    assert not empty
    if name == "redis" and not exporter:
        pytest.skip(f"only the panels of our own metrics: {EXPORTER} is not installed (Debian: apt-get install it)")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_every_metric_of_the_reference_is_told_by_its_service_and_no_other_is(
    watched: Prometheus, full_stack: StackProcess
) -> None:
    told = {job: [httpx.get(f"http://{at}/metrics").text for at in each] for job, each in addresses(full_stack).items()}
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    for heading, (_, declare) in SERVICES.items():
        if "GPU" in heading:
            continue
        of_service = [job for job in told if heading == "Every worker" or heading.endswith(job.replace("_", "-"))]
        assert of_service, heading
        for each in described(declare):
            assert f"| `{each.name}` " in page, each.name
            for text in (text for job in of_service for text in told[job]):
                assert f"# TYPE {each.name} {each.kind}" in text, f"{each.name} is not told by {heading}"
    for name in _families(text for texts in told.values() for text in texts):
        assert f"| `{name}` " in page, f"{name} is not in the reference"


def _families(texts: Iterator[str]) -> set[str]:
    names = {name for text in texts for name in re.findall(r"^# TYPE (stenoflow_\w+) ", text, re.MULTILINE)}
    return {name for name in names if not name.endswith("_created")}


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_call_is_in_the_figures(watched: Prometheus) -> None:
    """One call of two tracks, 29 s: what the figures say of it must be of that size."""
    (sound,) = watched.values('sum(stenoflow_stage_sound_seconds_total{stage="decoder"})')
    assert sound >= 2 * 25
    (words,) = watched.values("sum(stenoflow_word_seconds_count)")
    assert words >= 20
    assert watched.values("sum(stenoflow_audio_lost_seconds_total)") == [0]
    (errors,) = watched.values('stenoflow_gateway_errors_total{code="malformed_message"}')
    assert errors >= 1, "others that share this stack may have provoked more"
