"""What the second pass made of its utterances: its own counter, from a registry or from a running worker."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from stenoflow_second_pass.metrics import OUTCOMES

UTTERANCES = "stenoflow_second_pass_utterances"
COLOUR = re.compile(r"\x1b\[[\d;]*m")
PORT = re.compile(r'health_port"?\s*[=:]\s*(\d+)')


def outcomes(registry: CollectorRegistry) -> Counter[str]:
    """How often each outcome was counted so far."""
    found = {str(one): registry.get_sample_value(f"{UTTERANCES}_total", {"outcome": str(one)}) for one in OUTCOMES}
    return Counter({one: int(value) for one, value in found.items() if value})


def outcomes_of_workers(logs: Path) -> Counter[str]:
    """The same of all second-pass workers of a stack, by the ports that their logs name."""
    found = Counter[str]()
    for log in logs.glob("second_pass-*.log"):
        ports = PORT.findall(COLOUR.sub("", log.read_text(errors="replace")))
        assert ports, f"{log} names no port"
        with urlopen(f"http://127.0.0.1:{ports[-1]}/metrics", timeout=5) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                if family.name == UTTERANCES:
                    found += Counter(
                        {
                            sample.labels["outcome"]: int(sample.value)
                            for sample in family.samples
                            if sample.name.endswith("_total")
                        }
                    )
    return found


def told(counted: Counter[str]) -> str:
    """What was not heard, in words, with the share of all."""
    total = max(1, counted.total())
    return ", ".join(f"{what} {100 * count / total:.1f} %" for what, count in counted.items() if what != "heard")
