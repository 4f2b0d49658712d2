"""One trace an utterance through the real stack: every span comes over OTLP, and the tree is whole."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from tests.otlp import collector
from tests.pipeline.calls import speak
from tests.stack import StackProcess

WAY = ("utterance", "receive", "features", "acoustic", "decoder", "deliver final")
SERVICES = {
    "utterance": "stenoflow-gateway",
    "receive": "stenoflow-gateway",
    "features": "stenoflow-features",
    "acoustic": "stenoflow-acoustic",
    "decoder": "stenoflow-decoder",
    "deliver final": "stenoflow-gateway",
}


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_a_final_leads_back_to_its_sound(tmp_path: Path) -> None:
    with collector() as there:
        with patch.dict("os.environ", STENOFLOW_TRACING=there.url, OTEL_BSP_SCHEDULE_DELAY="200"):
            stack = StackProcess(tmp_path, ["--second-pass", "off"])
        try:
            finals, _ = await speak(stack.stream_url, pace=1.5)
        finally:
            stack.stop()  # each process sends what waits before it ends
        assert finals, stack.last_words()
        spans = {span.id: span for span in there.spans}
    delivered = [span for span in spans.values() if span.name == "deliver final"]
    assert len(delivered) >= len(finals)
    roots = set()
    for span in delivered:
        way = [span]
        while way[-1].parent:
            way.append(spans[way[-1].parent])
        assert tuple(each.name for each in reversed(way)) == WAY
        assert {each.trace for each in way} == {span.trace}
        assert all(each.service == SERVICES[each.name] for each in way)
        begins = [each.begin_ns for each in reversed(way)]
        assert begins == sorted(begins)
        roots.add(way[-1].id)
    assert len(roots) >= 4, "two tracks speak in turn: several traces"
    steps = [span for span in spans.values() if span.name in ("features", "acoustic", "decoder")]
    for step in steps:
        (batch,) = (spans[link] for link in step.links)
        assert batch.name == f"{step.name} batch" and step.parent in batch.links
    tracks = {root.attributes["stenoflow.track"] for root in spans.values() if root.name == "utterance"}
    assert tracks == {0, 1}
