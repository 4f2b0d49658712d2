"""The page in headless Chromium, against the running stack: see page.test.mjs, which does the work."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "browser" / "page.test.mjs"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
LIMIT_S = 600


def _missing() -> str | None:
    """What is not here and would be needed, in one line."""
    if shutil.which("node") is None:
        return "node is missing: install Node 20"
    if CHROMIUM is None:
        return "chromium is missing: apt-get install chromium"
    if not (ROOT / "gateway-js" / "node_modules" / "puppeteer-core").is_dir():
        return "gateway-js/node_modules is missing: npm ci --prefix gateway-js"
    return None


@pytest.mark.browser
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.skipif(_missing() is not None, reason=_missing() or "")
def test_page_captions_microphone_file_and_sample(running_stack: str, speech_wav: Path, tmp_path: Path) -> None:
    """The whole way: a real browser's microphone, the running services, words on the screen."""
    assert CHROMIUM is not None
    screenshots = Path(os.environ.get("STENOFLOW_SCREENSHOTS", tmp_path))
    run = subprocess.run(
        ["node", "--test", str(SCRIPT)],
        cwd=ROOT,
        env={
            **os.environ,
            "STENOFLOW_URL": running_stack,
            "STENOFLOW_MICROPHONE": str(speech_wav),
            "STENOFLOW_SCREENSHOTS": str(screenshots),
            "CHROMIUM": CHROMIUM,
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
