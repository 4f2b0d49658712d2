"""Takes the alert rules out of Kubernetes' object, for a Prometheus without its operator: ``make rules``.

The rules are written once, in ``k8s/components/monitoring/rules.yaml``; this is what the operator makes of the spec.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "k8s" / "components" / "monitoring" / "rules.yaml"
MADE = ROOT / "compose" / "rules.yml"
HEADER = "# Made from k8s/components/monitoring/rules.yaml by `make rules`: change that file, not this one.\n"


def make() -> str:
    """The file's content. The spec is the last part of the object, and is itself a file of rules."""
    head, found, spec = SOURCE.read_text("utf-8").partition("\nspec:\n")
    assert found and "kind: PrometheusRule" in head, f"{SOURCE} is no PrometheusRule whose spec stands last"
    return HEADER + textwrap.dedent(spec)


if __name__ == "__main__":
    MADE.write_text(make(), "utf-8")
