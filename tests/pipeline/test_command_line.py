"""The command line as a user meets it: what goes wrong is a sentence and exit code 2; the rest still goes through."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.calls import ROOT, SAMPLE, oracle
from tests.stack import StackProcess

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
        port = taken.getsockname()[1]
        run = stenoflow("up", "--port", str(port))
    assert run.returncode == 2
    assert f"port {port} of 127.0.0.1 is taken" in run.stderr and "port_taken" in run.stderr
    assert "stenoflow up --port 8010" in run.stderr and "make run PORT=8010" in run.stderr


def test_make_run_takes_another_port() -> None:
    dry = ["make", "--dry-run", "run", "PORT=8010"]
    assert "up --sample --port 8010\n" in subprocess.run(dry, cwd=ROOT, capture_output=True, text=True).stdout


def test_a_url_without_a_stack_is_said_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    began = time.monotonic()
    run = stenoflow("transcribe", "--url", f"http://127.0.0.1:{port}", SAMPLE, SAMPLE)
    assert time.monotonic() - began < 20, "it went on trying"
    assert run.returncode == 2
    assert run.stderr.count("nothing_listens") == 1 and "--url" in run.stderr


@pytest.mark.faults
def test_a_stack_is_found_by_host_and_port(stack: StackProcess) -> None:
    run = stenoflow("transcribe", "--url", stack.url.removeprefix("http://"), SAMPLE)
    assert run.returncode == 0, run.stderr
    assert sorted(line.partition(": ")[2] for line in run.stdout.splitlines()) == sorted(
        final.text for final in oracle()
    )


@pytest.mark.faults
def test_an_interrupt_in_the_middle_of_the_sample_is_a_normal_end(tmp_path: Path) -> None:
    running = StackProcess(tmp_path, ["--second-pass", "off", "--sample"])
    assert running.stop() == 0
    said = (tmp_path / "up.log").read_text()
    assert said.endswith("Stenoflow has ended.\n") and said.count("ended") == 1
    assert "Traceback" not in said


def test_a_redis_that_is_missing_is_said() -> None:
    run = stenoflow("up", "--port", "0", "--redis", "redis://127.0.0.1:1/0")
    assert run.returncode == 2, run.stderr
    assert "redis_unreachable" in run.stderr or "127.0.0.1:1" in run.stderr
