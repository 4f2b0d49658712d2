"""The page of latencies in Chromium, against a gateway in this process with a call: see latency.test.mjs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.browser.test_page import ROOT, _missing, _program
from tests.unit.gateway.harness import running_gateway
from tests.unit.gateway.world import UTTERANCE, sound

SCRIPT = ROOT / "tests" / "browser" / "latency.test.mjs"


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(_missing("chromium") is not None, reason=_missing("chromium") or "")
async def test_the_page_shows_the_call(tmp_path: Path) -> None:
    async with running_gateway() as running, running.dial() as caller:
        await caller.start()
        for utterance in range(12):  # a minute of points, without waiting for one
            begin = utterance * UTTERANCE
            await caller.say(begin, sound(begin, begin + UTTERANCE))
            await caller.until("final", lambda final, end=begin + UTTERANCE: final.end == end)
            running.gateway.history.sample()
        process = await asyncio.create_subprocess_exec(
            *("node", "--test", str(SCRIPT)),
            cwd=ROOT,
            env={
                **os.environ,
                "STENOFLOW_URL": running.url,
                "STENOFLOW_SCREENSHOTS": os.environ.get("STENOFLOW_SCREENSHOTS", str(tmp_path)),
                "CHROMIUM": _program("chromium") or "",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
