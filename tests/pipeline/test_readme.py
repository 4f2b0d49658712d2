"""What the README shows a newcomer does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr

from tests.pipeline.calls import ROOT, sample_sound
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
