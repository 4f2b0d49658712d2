"""Writes the Grafana dashboards of ``components/monitoring/dashboards/``: ``python3 -m k8s.make_dashboards``.

Kubernetes and compose mount the same files. What is asked stands in ``k8s/dashboards/``; tests/ops runs every query
against a real Prometheus that scrapes a running stack. Needs nothing but Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from k8s.dashboards import call_quality, capacity, milliseconds, redis, service_levels
from k8s.dashboards.panels import Panel

FOLDER = Path(__file__).resolve().parent / "components" / "monitoring" / "dashboards"
WIDTH, HEIGHT = 8, 8

DASHBOARDS: Mapping[str, tuple[str, Sequence[Panel]]] = {
    "service-levels": (service_levels.TITLE, service_levels.PANELS),
    "capacity": (capacity.TITLE, capacity.PANELS),
    "milliseconds": (milliseconds.TITLE, milliseconds.PANELS),
    "call-quality": (call_quality.TITLE, call_quality.PANELS),
    "redis": (redis.TITLE, redis.PANELS),
}
"""By the names of their files."""


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard in Grafana's format."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"stenoflow-{name}",
        "title": f"Stenoflow: {title}",
        "tags": ["stenoflow"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "tags": ["stenoflow"], "title": "Stenoflow", "asDropdown": True, "keepTime": True}
        ],
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_placed(panels)),
    }


def _placed(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    for number, panel in enumerate(panels):
        drawn = {"fillOpacity": 30 if panel.stacked else 6, "stacking": {"mode": "normal" if panel.stacked else "none"}}
        yield {
            "id": number + 1,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.text,
            "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "datasource": source,
            "fieldConfig": {
                "defaults": {"unit": panel.unit, "custom": drawn if panel.kind == "timeseries" else {}},
                "overrides": [],
            },
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
            "targets": [
                {
                    "refId": chr(ord("A") + at),
                    "datasource": source,
                    "expr": expression,
                    "legendFormat": legend,
                    **({"format": "heatmap"} if panel.kind == "heatmap" else {}),
                }
                for at, (legend, expression) in enumerate(panel.queries)
            ],
        }


def main() -> None:
    """Writes all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
