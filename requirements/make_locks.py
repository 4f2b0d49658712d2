#!/usr/bin/env python3
"""Locks the packages of each image, with hashes: ``make locks``. The newest versions that ``pyproject.toml`` allows.

    make_locks.py             all images
    make_locks.py gateway     one, or some

pip itself resolves, as it will in the build, so the files hold for its platform: CPython 3.11 on Linux, x86-64. They
name no registry; any mirror that has the same files will do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "requirements"
PIP_HOME = ROOT / ".tools" / "locks"
PYTHON = (3, 11)
IMAGES = ("gateway", "features", "acoustic", "acoustic-gpu", "decoder", "second-pass")
"""Each has the extra of its name."""

TOOLS = ("hatchling>=1.27,<2", "cyclonedx-bom>=7.5,<8")
"""What builds an image and is in none: the package's build backend, and what writes the list of an image's packages."""


def main(names: Sequence[str]) -> int:
    """Writes lock files; returns the exit code."""
    if sys.version_info[:2] != PYTHON:
        print(f"the images have Python {'.'.join(map(str, PYTHON))}, this is {sys.version.split()[0]}")
        return 1
    if not (PIP_HOME / "bin" / "pip").exists():
        venv.create(PIP_HOME, with_pip=True)
    for name in names or (*IMAGES, "tools", "silero-vad"):
        print(f"» {name}", flush=True)
        lines = locked(*wanted(name))
        (HERE / f"{name}.lock").write_text("# Made by `make locks`: not by hand.\n" + "".join(lines), "utf-8")
    return 0


def wanted(name: str) -> tuple[str, ...]:
    """What pip is asked for."""
    if name == "tools":
        return TOOLS
    if name == "silero-vad":  # only the weights in it are used; what it asks for would bring torch
        return ("--no-deps", silero())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return (*project["dependencies"], *project["optional-dependencies"][name])


def silero() -> str:
    """The detector's package as the set-up installs it."""
    set_up = (ROOT / "services" / "stenoflow_cli" / "set_up.py").read_text("utf-8")
    (found,) = re.findall(r'^SILERO = "(.*)"$', set_up, re.MULTILINE)
    return str(found)


def locked(*requirements: str) -> list[str]:
    """One entry a package of what pip would install into an empty environment, by name."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        options = ("--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", report.name)
        subprocess.run([str(PIP_HOME / "bin" / "pip"), "install", *options, *requirements], check=True)
        packages = json.load(report)["install"]
    return sorted(
        f"{re.sub(r'[-_.]+', '-', each['metadata']['name']).lower()}=={each['metadata']['version']} \\\n"
        f"    --hash=sha256:{each['download_info']['archive_info']['hashes']['sha256']}\n"
        for each in packages
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
