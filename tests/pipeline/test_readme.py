"""What the README shows a newcomer does what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import soundfile
import soxr

from stenoflow.bus.redis.embedded import EmbeddedRedis
from tests.pipeline.calls import ROOT, SAMPLE, sample_sound
from tests.pipeline.readme import ELSEWHERE, commands
from tests.stack import StackProcess

SECONDS = 8


@pytest.mark.faults
def test_the_client_for_phone_systems_prints_captions(stack: StackProcess, tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code.count("\n") < 30
    client = tmp_path / "client.py"
    client.write_text(code)
    sound = sample_sound()[0]
    heard = np.frombuffer(sound.pcm, "<i2")[: SECONDS * sound.sample_rate]
    pcm = soxr.resample(heard, sound.sample_rate, 8000).tobytes()
    command = [sys.executable, str(client), stack.stream_url]
    run = subprocess.run(command, input=pcm, capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr.decode()
    lines = run.stdout.decode().splitlines()
    assert any(line.startswith("partial ") for line in lines), lines
    assert any(re.match(r"final [\d.]+ \w+ \w+", line) for line in lines), lines


# ---------------------------------------------------------------- every other command

UP = ".venv/bin/stenoflow up --workers acoustic=2 --redis redis://127.0.0.1:6379/0 --port 8090 --logs logs/"
ALONE = (
    ".venv/bin/stenoflow transcribe call.wav interview.mp3 --format vtt --output captions/",
    ".venv/bin/stenoflow transcribe call.wav --in-process",
    ".venv/bin/stenoflow bundle list",
    ".venv/bin/stenoflow bundle export en-small --out en-small-sherpa",
    ".venv/bin/stenoflow doctor",
)
AT_A_STACK = (
    ".venv/bin/stenoflow transcribe call.wav --url 127.0.0.1:8090",
    ".venv/bin/stenoflow doctor --redis redis://127.0.0.1:6379/0 --url 127.0.0.1:8090",
)
WATCHING = (".venv/bin/stenoflow sessions", ".venv/bin/stenoflow sessions ID")
GUARDED = (
    ".venv/bin/stenoflow token --new-key token.key",
    ".venv/bin/stenoflow-gateway --host 0.0.0.0 --token-key-file token.key",
    ".venv/bin/stenoflow token --key-file token.key --tenant acme --scope publish --expires 8h",
)
LIMIT_S = 110.0

pytestmark = pytest.mark.timeout(240)


def test_every_command_of_the_readme_is_run_or_it_is_said_why_not() -> None:
    assert {UP, *ALONE, *AT_A_STACK, *WATCHING, *GUARDED, *ELSEWHERE} == set(commands())
    for command, why in ELSEWHERE.items():
        for path, name in re.findall(r"(tests/[\w/]+\.py)::(\w+)", why):
            source = (ROOT / path).read_text("utf-8")
            assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{command}: there is no {path}::{name}"


def arguments(command: str, places: Mapping[str, str]) -> list[str]:
    """A command of the README with this environment's programs, and other places for those that it names."""
    program, *rest = shlex.split(command)
    module = program.removeprefix(".venv/bin/").replace("-", "_")
    module = "stenoflow_cli" if module == "stenoflow" else module
    return [sys.executable, "-m", module, *(places.get(argument, argument) for argument in rest)]


def run(command: str, folder: Path, places: Mapping[str, str] | None = None) -> str:
    """What it prints, once it has ended well."""
    done = subprocess.run(
        arguments(command, places or {}), cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with the files that the README names: a call with two sides, and one voice as MP3."""
    samples, rate = soundfile.read(SAMPLE, frames=6 * 44_100)
    soundfile.write(tmp_path / "call.wav", samples, rate)
    soundfile.write(tmp_path / "interview.mp3", samples[:, 0], rate)
    return tmp_path


@pytest.fixture(scope="module")
def at_a_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The stack as the README starts it, over a Redis of its own; the README's places and where they are here."""
    with EmbeddedRedis() as redis:
        logs = tmp_path_factory.mktemp("logs")
        places = {"redis://127.0.0.1:6379/0": redis.url, "8090": "0", "logs/": str(logs)}
        running = StackProcess(logs, [places.get(option, option) for option in shlex.split(UP)[2:]])
        yield {**places, "127.0.0.1:8090": running.url.removeprefix("http://")}
        running.stop()


@pytest.mark.faults
def test_files_are_written_down_as_the_readme_says(recordings: Path) -> None:
    several, alone, listed, exported, checked = ALONE
    run(several, recordings)
    for name in ("call", "interview"):
        assert (recordings / "captions" / f"{name}.vtt").read_text().startswith("WEBVTT\n\n00:00:0")
    assert len(run(alone, recordings).split()) > 8
    assert "en-small" in run(listed, recordings)
    run(exported, recordings)
    assert (recordings / "en-small-sherpa" / "tokens.txt").is_file()
    assert "ok    bundle" in run(checked, recordings)


@pytest.mark.faults
@pytest.mark.parametrize("command", AT_A_STACK)
def test_a_stack_that_the_readme_starts_takes_calls_and_is_well(
    command: str, at_a_stack: dict[str, str], recordings: Path
) -> None:
    said = run(command, recordings, at_a_stack)
    assert ("takes calls" in said and "no track waits" in said) if "doctor" in command else len(said.split()) > 8


@pytest.mark.faults
def test_calls_are_watched_as_the_readme_says(at_a_stack: dict[str, str], recordings: Path) -> None:
    everywhere = " --url 127.0.0.1:8090"  # the README's is on the usual port
    run(AT_A_STACK[0], recordings, at_a_stack)
    table = run(f"{WATCHING[0]}{everywhere} --once --json --ended", recordings, at_a_stack)
    newest = json.loads(table)[0]
    assert (newest["state"], len(newest["tracks"])) == ("ended", 2)
    captions = run(f"{WATCHING[1]}{everywhere}", recordings, {**at_a_stack, "ID": newest["session"]})
    assert len(captions.split()) > 8


@pytest.mark.faults
def test_a_gateway_beyond_this_machine_asks_for_the_token_that_the_readme_makes(tmp_path: Path) -> None:
    new_key, start, make = GUARDED
    run(new_key, tmp_path)
    token = run(make, tmp_path).strip()
    with EmbeddedRedis() as redis, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        own = {"STENOFLOW_GATEWAY_REDIS": redis.url, "STENOFLOW_GATEWAY_PORT": str(port)}
        gateway = subprocess.Popen(arguments(start, {}), cwd=tmp_path, env={**os.environ, **own})
        try:
            page = f"http://127.0.0.1:{port}"
            until_answered(f"{page}/healthz")
            with pytest.raises(HTTPError, match="401"):
                urlopen(f"{page}/v1/capacity")
            with urlopen(Request(f"{page}/v1/capacity", headers={"Authorization": f"Bearer {token}"})) as answer:
                assert json.load(answer)["calls"] == 0
        finally:
            gateway.terminate()
            assert gateway.wait(30) == 0


def until_answered(address: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            urlopen(address).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.05)
