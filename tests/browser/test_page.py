"""The page in headless Chromium and Firefox, against the running stack: see page.test.mjs, which does the work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "browser" / "page.test.mjs"
PROGRAMS = {"chromium": ("chromium", "chromium-browser"), "firefox": ("firefox-esr", "firefox")}
# Firefox's microphone comes from a sound server that the test starts: browsers.mjs says why.
HELPERS = {"chromium": (), "firefox": ("pulseaudio", "paplay")}
PACKAGES = {"chromium": "chromium", "firefox": "firefox-esr pulseaudio"}
# The first Firefox whose WebDriver BiDi knows `emulation.setScreenOrientationOverride`: without it puppeteer gives no
# page a size. Chromium speaks its own protocol.
OLDEST = {"firefox": 144}
LIMIT_S = 600


def _program(browser: str) -> str | None:
    """Where the browser is."""
    found = (shutil.which(name) for name in PROGRAMS[browser])
    return os.environ.get(browser.upper()) or next(filter(None, found), None)


@cache
def _version(program: str) -> int:
    """The first number that a browser says of itself; 0 where it says none."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    found = re.search(r"\d+", said)
    return int(found[0]) if found else 0


def _missing(browser: str) -> str | None:
    """What is not here and would be needed, in one line."""
    if shutil.which("node") is None:
        return "node is missing: install Node 20"
    absent = [name for name in HELPERS[browser] if shutil.which(name) is None]
    program = _program(browser)
    if program is None:
        absent.insert(0, browser)
    if absent:
        return f"{' and '.join(absent)} missing: apt-get install {PACKAGES[browser]}"
    if program is not None and (oldest := OLDEST.get(browser)) and _version(program) < oldest:
        return f"{browser} {_version(program)} is too old for puppeteer: {oldest} or newer"
    if not (ROOT / "gateway-js" / "node_modules" / "puppeteer-core").is_dir():
        return "gateway-js/node_modules is missing: npm ci --prefix gateway-js"
    return None


@pytest.mark.browser
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize(
    "browser",
    [
        pytest.param(name, marks=pytest.mark.skipif(_missing(name) is not None, reason=_missing(name) or ""))
        for name in PROGRAMS
    ],
)
def test_page_captions_microphone_file_and_sample(
    browser: str, running_stack: str, speech_wav: Path, tmp_path: Path
) -> None:
    """The whole way: a real browser's microphone, the running services, words on the screen."""
    program = _program(browser)
    assert program is not None
    pictures = os.environ.get("STENOFLOW_SCREENSHOTS")
    run = subprocess.run(
        ["node", "--test", str(SCRIPT)],
        cwd=ROOT,
        env={
            **os.environ,
            "BROWSER": browser,
            "STENOFLOW_URL": running_stack,
            "STENOFLOW_MICROPHONE": str(speech_wav),
            "STENOFLOW_SCREENSHOTS": str(Path(pictures) / browser if pictures else tmp_path),
            browser.upper(): program,
        },
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
