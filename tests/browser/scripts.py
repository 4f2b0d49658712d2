"""Runs a page's test script in Node, against a gateway in this process."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.browser.test_page import ROOT, _program

LIMIT_S = 240


async def run_script(name: str, url: str, pictures: Path, **environment: str) -> None:
    """Runs ``tests/browser/NAME`` to its end; what it says is the failure's message.

    Args:
        name: of the script.
        url: of the gateway.
        pictures: where screenshots go, unless STENOFLOW_SCREENSHOTS says another place.
        environment: further variables.
    """
    process = await asyncio.create_subprocess_exec(
        *("node", "--test", str(ROOT / "tests" / "browser" / name)),
        cwd=ROOT,
        env={
            "STENOFLOW_SCREENSHOTS": str(pictures),
            **os.environ,
            "STENOFLOW_URL": url,
            "CHROMIUM": _program("chromium") or "",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    told = b""
    try:
        async with asyncio.timeout(LIMIT_S):
            while part := await process.stdout.read(1 << 16):
                told += part
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGTERM)  # puppeteer then kills its browser
        pytest.fail(f"{name} did not end within {LIMIT_S} s; until then it said:\n{told.decode()}")
    assert process.returncode == 0, told.decode()
