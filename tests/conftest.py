"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import soundfile
import structlog
from hypothesis import settings

from tests import servers
from tests.stack import StackProcess

settings.register_profile("no deadlines", deadline=None)  # no test asserts a duration
settings.load_profile("no deadlines")

ROOT = Path(__file__).resolve().parents[1]


def pytest_report_header() -> str:
    return servers.in_words()


@contextmanager
def _redis_of(kind: str) -> Iterator[list[str]]:
    """The option by which a stack uses a server in a container; none where no engine answers: it brings its own."""
    if servers.docker_is_missing():
        yield []
        return
    with servers.server(kind) as url:
        yield ["--redis", url]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A test that sets up logging does so for itself: the stream that it was given closes with it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """The real stack, two workers a stage, shared by all tests of a run; without a second pass, it is the oracle's.

    Its Redis is the compose file's in a container where a Docker engine answers, else one of this machine.
    """
    options = [f"--workers={stage}=2" for stage in ("features", "acoustic", "decoder")]
    with _redis_of("docker-compose") as redis:
        running = StackProcess(tmp_path_factory.mktemp("stack"), [*options, "--second-pass", "off", *redis])
        yield running
        running.stop()


@pytest.fixture(scope="session")
def full_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """The stack as users have it, second pass and all (where one is installed), two workers of that.

    They never let a draft through for want of time, nor send a call away for want of room: this machine may be slow,
    and is measured by the workers at a moment when it may be busy. Its Redis is the oldest that is supported, in a
    container where a Docker engine answers, else one of this machine.
    """
    with _redis_of("docker-oldest") as redis:
        with patch.dict(os.environ, STENOFLOW_SECOND_PASS_BUDGET_MS="60000", STENOFLOW_SECOND_PASS_PLACES="64"):
            running = StackProcess(tmp_path_factory.mktemp("full"), ["--workers=second_pass=2", *redis])
        yield running
        running.stop()


@pytest.fixture(scope="session")
def running_stack(full_stack: StackProcess) -> str:
    """The address of the stack's page."""
    return full_stack.url


@pytest.fixture(scope="session")
def speech_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech as a WAV file, which Chromium plays as its microphone: one side of the spoken sample."""
    samples, rate = soundfile.read(ROOT / "shared" / "samples" / "two-sided-call.flac", dtype="int16", always_2d=True)
    path = tmp_path_factory.mktemp("sound") / "microphone.wav"
    soundfile.write(path, samples[:, 0], rate, subtype="PCM_16")
    return path
