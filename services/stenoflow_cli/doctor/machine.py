"""This machine: Python and packages, processor, memory, disk, models, and the gateway's port."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.loading import CARD, load_bundle, model_folders
from stenoflow_cli.doctor.finding import Finding, ok, warn, wrong
from stenoflow_cli.up import PIP, extra

PYTHONS = ((3, 11), (3, 12))
SERVICES = ("gateway", "features", "acoustic", "decoder", "second-pass", "cli")
"""Extras, each what one program needs."""

MEMORY_GB = 1.0
"""What the whole stack takes on one machine, the second pass too."""

DISK_GB = (0.1, 1.0)
"""Of temporary files: under the first recordings fail, under the second they soon will."""


def look_at_machine(host: str, port: int) -> Iterator[Finding]:
    """All of it.

    Args:
        host: where a gateway is to listen.
        port: the same.
    """
    yield python()
    yield from packages(importlib.metadata.requires("stenoflow") or [])
    yield processor(Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else "")
    yield memory(Path("/proc/meminfo").read_text() if Path("/proc/meminfo").exists() else "")
    yield disk()
    yield detector()
    yield from bundles()
    yield port_of(host, port)


def python() -> Finding:
    """The interpreter and the system."""
    version, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    if sys.version_info[:2] not in PYTHONS:
        return wrong("python", f"Python {version} is not supported: use 3.11 or 3.12")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return warn("python", f"{system} is not tested: use Linux on x86-64")
    return ok("python", f"Python {version} on {system}, in {sys.prefix}")


def packages(requirements: Iterable[str]) -> Iterator[Finding]:
    """Of each program, whether its packages are there in versions that it was tested with."""
    wanted: dict[str, list[Requirement]] = defaultdict(list)
    for text in requirements:
        requirement = Requirement(text)
        if requirement.name.replace("_", "-") == "stenoflow":
            continue
        for name in SERVICES:
            if requirement.marker is None or requirement.marker.evaluate({"extra": name}):
                wanted[name].append(requirement)
    for name in SERVICES:
        missing, others = [], []
        for requirement in wanted[name]:
            try:
                found = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                missing.append(requirement.name)
                continue
            if not requirement.specifier.contains(found, prereleases=True):
                others.append(f"{requirement.name} {found} (wanted: {requirement.specifier})")
        mend = f"{PIP} {extra(name)}"
        if others:
            yield wrong(name, f"has {', '.join(others)}: {mend}")
        elif missing:
            yield warn(name, f"cannot run here, for want of {', '.join(missing)}; if it is to: {mend}")
        else:
            yield ok(name, f"its {len(wanted[name])} packages are there, in versions that it was tested with")


def processor(cpuinfo: str) -> Finding:
    """What the models' arithmetic needs."""
    cores = len(os.sched_getaffinity(0))
    found = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    fast = sorted(flags & {"avx512_vnni", "avx_vnni", "amx_int8"})
    if "avx2" not in flags:
        return warn("processor", "it has no AVX2: models run several times slower; use another machine for calls")
    if cores < 2:
        return warn("processor", "one core for all programs: captions will lag; give it two or more")
    return ok("processor", f"{cores} cores with AVX2" + (f" and {', '.join(fast)}" if fast else ""))


def memory(meminfo: str) -> Finding:
    """What is free now."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    if found is None:
        return warn("memory", "this system does not say how much is free: see to it that 1 GB is")
    free = int(found[1]) / 2**20
    if free < MEMORY_GB:
        return warn("memory", f"{free:.1f} GB are free; the whole stack takes {MEMORY_GB:.0f} GB: end other programs")
    return ok("memory", f"{free:.1f} GB are free")


def disk(folder: Path | None = None) -> Finding:
    """Where recordings lie while they are read, and logs."""
    folder = folder or Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free / 2**30
    least, enough = DISK_GB
    if free < least:
        return wrong("disk", f"{folder} has {free * 1024:.0f} MB left: make room, or set TMPDIR to another disk")
    if free < enough:
        return warn("disk", f"{folder} has {free:.1f} GB left: make room, or set TMPDIR to another disk")
    return ok("disk", f"{folder} has {free:.0f} GB left")


def detector() -> Finding:
    """The network that tells speech from silence."""
    try:
        from stenoflow_features.detector import WHEEL, Detector

        Detector()
    except ImportError as error:
        return warn(
            "detector", f"cannot be loaded here, for want of {error.name}; if it is to: {PIP} {extra('features')}"
        )
    except (BundleError, ConfigError) as error:
        return wrong("detector", error)
    return ok("detector", f"{WHEEL}, whole")


def bundles() -> Iterator[Finding]:
    """Every bundle that a worker here may be told to load, file by file."""
    folders = [path.parent for folder in model_folders() for path in sorted(folder.glob(f"*/{CARD}"))]
    for folder in folders:
        try:
            bundle = load_bundle(folder)
        except BundleError as error:
            yield wrong("bundle", error)
        else:
            yield ok("bundle", f"{bundle}: {len(bundle.card.files)} files as its card says")
    if not folders:
        yield warn("bundle", f"there is none in {', '.join(map(str, model_folders()))}: workers here need one")


def port_of(host: str, port: int) -> Finding:
    """Whether a gateway could listen there, or something does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return ok("port", f"{host}:{port} is taken; the line 'gateway' says by what")
            return warn("port", f"{host}:{port} cannot be listened on ({os.strerror(error.errno or 0).lower()})")
    return ok("port", f"{host}:{port} is free")
