"""The page for those who watch in Chromium, against a gateway in this process with a call: see watch.test.mjs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.browser.test_page import ROOT, _missing, _program
from tests.unit.gateway.harness import running_gateway
from tests.unit.gateway.world import UTTERANCE, sound

SCRIPT = ROOT / "tests" / "browser" / "watch.test.mjs"
UTTERANCES = 6


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(_missing("chromium") is not None, reason=_missing("chromium") or "")
async def test_the_call_is_listed_and_read(tmp_path: Path) -> None:
    async with running_gateway() as running, running.dial() as caller:
        started = await caller.start()
        for utterance in range(UTTERANCES):
            begin = utterance * UTTERANCE
            await caller.say(begin, sound(begin, begin + UTTERANCE))
            await caller.until("final", lambda final, end=begin + UTTERANCE: final.end == end)
        process = await asyncio.create_subprocess_exec(
            *("node", "--test", str(SCRIPT)),
            cwd=ROOT,
            env={
                **os.environ,
                "STENOFLOW_URL": running.url,
                "STENOFLOW_SCREENSHOTS": os.environ.get("STENOFLOW_SCREENSHOTS", str(tmp_path)),
                "CHROMIUM": _program("chromium") or "",
                "SESSION": started.session,
                "FINALS": str(UTTERANCES),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
