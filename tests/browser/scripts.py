"""Runs a page's test script in Node, against a gateway in this process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.browser.test_page import ROOT, _program


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
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
