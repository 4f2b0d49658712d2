"""The lock files of ``requirements/``: whole, hashed, and what ``pyproject.toml`` and the Dockerfile say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.ops.compose_stack import IMAGES, ROOT

LOCKS = ROOT / "requirements"
ALL = (*IMAGES, "acoustic-gpu")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOOLS = re.findall(r'"([^"]+)"', re.findall(r"^TOOLS = \((.*)\)$", (LOCKS / "make_locks.py").read_text(), re.M)[0])
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def pins(name: str) -> dict[str, str]:
    """The version of each package of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", (LOCKS / f"{name}.lock").read_text(), re.MULTILINE))


@pytest.mark.parametrize("image", ALL)
def test_a_lock_has_what_the_project_asks_for_in_its_ranges(image: str) -> None:
    locked = pins(image)
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][image]):
        wanted = Requirement(text)
        version = locked.get(canonicalize_name(wanted.name))
        assert version is not None, f"{image}.lock lacks {wanted.name}: run `make locks`"
        assert wanted.specifier.contains(version), f"{image}.lock has {wanted.name} {version}: run `make locks`"


def test_the_tools_are_in_their_ranges() -> None:
    for text in (*TOOLS, *tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins("tools")[canonicalize_name(wanted.name)])


def test_the_detector_is_the_one_of_the_set_up() -> None:
    from stenoflow_cli.set_up import SILERO

    assert pins("silero-vad") == dict([SILERO.split("==")])


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*.lock")), ids=lambda path: path.stem)
def test_every_line_is_a_pin_with_a_hash_and_names_no_host(path: Path) -> None:
    head, *lines = path.read_text().splitlines()
    assert head.startswith("# Made by `make locks`")
    for pin, digest in zip(lines[::2], lines[1::2], strict=True):
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!-]+ \\", pin)
        assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", digest)


@pytest.mark.parametrize("image", [*IMAGES, "silero-vad"])
def test_no_torch_is_locked(image: str) -> None:
    assert not {name for name in pins(image) if name.startswith(("torch", "nvidia", "triton"))}


def test_torch_for_a_gpu_is_the_one_with_cuda() -> None:
    """Where pip is offered a wheel for processors (2.13.0+cpu) it takes that, and the image would have no CUDA."""
    locked = pins("acoustic-gpu")
    assert "+" not in locked["torch"] and {"nvidia-cudnn-cu13", "nvidia-cublas"} <= set(locked)


def own_lines(stage: str) -> str:
    """What the Dockerfile does in a stage."""
    (lines,) = re.findall(rf"^FROM \S+ AS {stage}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return str(lines)


def whole_lines(stage: str) -> str:
    """The same, after what is done in the stages that it is made from, but for the common one."""
    (parent,) = re.findall(rf"^FROM (\S+) AS {stage}$", DOCKERFILE, re.MULTILINE)
    return ("" if parent == "runtime" else whole_lines(parent)) + own_lines(stage)


@pytest.mark.parametrize("image", ALL)
def test_the_build_installs_the_lock_with_hashes_and_code_comes_after(image: str) -> None:
    """A change of our code must not install packages again: their stage is given nothing but locks."""
    packages = own_lines(f"{image}-packages")
    copied = re.findall(r"^COPY (.*) \./$", packages, re.MULTILINE)
    assert [set(each.split()) for each in copied] in (
        [{f"requirements/{image}.lock"}],
        [{f"requirements/{image}.lock", "requirements/silero-vad.lock"}],
    )
    assert f"-r {image}.lock" in packages
    assert "--require-hashes" in (LOCKS / "install.sh").read_text()
    lines = whole_lines(image)
    runs = [line for line in lines.splitlines() if line.startswith("COPY")]
    code = runs.index("COPY --from=code /install /usr/local")
    assert runs[0] == f"COPY --from={image}-packages /install /usr/local"
    assert all(f"--from={image}-compiled" in line for line in runs[code + 1 :]), (
        "only what is made of the code follows it"
    )
    assert "RUN" not in lines, "what runs is only put together"
