"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import StackProcess

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """The real stack, two workers a stage, shared by all tests of a run."""
    options = [f"--workers={stage}=2" for stage in ("features", "acoustic", "decoder")]
    running = StackProcess(tmp_path_factory.mktemp("stack"), options)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def running_stack(stack: StackProcess) -> str:
    """The address of the stack's page."""
    return stack.url
