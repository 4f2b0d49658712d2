"""The command line as a user meets it: what goes wrong is a sentence and exit code 2; the rest still goes through."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.calls import SAMPLE, oracle

pytestmark = pytest.mark.timeout(120)


def stenoflow(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stenoflow_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def test_a_missing_and_a_broken_file_do_not_stop_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"fLaC but not really")
    options = ("--in-process", "--second-pass", "off", "--format", "json")
    run = stenoflow("transcribe", *options, tmp_path / "gone.wav", broken, SAMPLE)
    assert run.returncode == 2
    assert "gone.wav is not there" in run.stderr and "no_such_file" in run.stderr
    assert "unreadable_audio" in run.stderr
    utterances = json.loads(run.stdout)["utterances"]
    assert [each["text"] for each in utterances] == [
        final.text for final in sorted(oracle(), key=lambda final: (final.begin, final.track))
    ]


def test_output_goes_to_a_folder_by_name(tmp_path: Path) -> None:
    tmp_path.joinpath("captions").mkdir()
    run = stenoflow("transcribe", "--in-process", "--format", "vtt", "--output", tmp_path / "captions", SAMPLE)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "captions" / "two-sided-call.vtt").read_text().startswith("WEBVTT\n\n00:00:0")


def test_an_unknown_bundle_names_what_there_is() -> None:
    run = stenoflow("transcribe", "--in-process", "--bundle", "klingon", SAMPLE)
    assert run.returncode == 2
    assert "klingon" in run.stderr and "bundle_not_found" in run.stderr


def test_up_refuses_to_be_reachable_by_others() -> None:
    run = stenoflow("up", "--host", "0.0.0.0")
    assert run.returncode == 2
    assert "host_not_loopback" in run.stderr


def test_a_taken_port_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        run = stenoflow("up", "--port", str(taken.getsockname()[1]))
    assert run.returncode == 2
    assert "port_taken" in run.stderr and "--port" in run.stderr


def test_a_redis_that_is_missing_is_said() -> None:
    run = stenoflow("up", "--port", "0", "--redis", "redis://127.0.0.1:1/0")
    assert run.returncode == 2, run.stderr
    assert "redis_unreachable" in run.stderr or "127.0.0.1:1" in run.stderr
