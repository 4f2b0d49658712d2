"""The images' health check says what the service says."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from stenoflow.runtime.health import Health
from stenoflow.runtime.probe import main

PORT = "STENOFLOW_ACOUSTIC_HEALTH_PORT"


@pytest.mark.parametrize(("ready", "code", "said"), [(True, 0, "200 ok"), (False, 1, "503 no")])
def test_it_is_as_healthy_as_the_service_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ready: bool, code: int, said: str
) -> None:
    port = Health(CollectorRegistry(), lambda: True, lambda: ready).serve("127.0.0.1", 0)
    monkeypatch.setenv(PORT, str(port))
    assert main([PORT]) == code
    assert capsys.readouterr().out.strip() == said
    assert main([PORT, "/healthz"]) == 0


@pytest.mark.parametrize("port", ["", "nine", "1"])
def test_where_nothing_answers_it_says_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    monkeypatch.setenv(PORT, port)
    assert main([PORT]) == 1
    assert (f"port {port}" if port == "1" else PORT) in capsys.readouterr().out
