"""The page of latencies in Chromium, against a gateway in this process with a call: see latency.test.mjs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.browser.scripts import run_script
from tests.browser.test_page import _missing
from tests.unit.gateway.harness import running_gateway
from tests.unit.gateway.world import UTTERANCE, sound


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(_missing("chromium") is not None, reason=_missing("chromium") or "")
async def test_the_page_shows_the_call(tmp_path: Path) -> None:
    # No limit to what waits unread: while the browser looks, nobody reads, and pings must still be answered.
    async with running_gateway() as running, running.dial(max_queue=None) as caller:
        await caller.start()
        for utterance in range(12):  # a minute of points, without waiting for one
            begin = utterance * UTTERANCE
            await caller.say(begin, sound(begin, begin + UTTERANCE))
            await caller.until("final", lambda final, end=begin + UTTERANCE: final.end == end)
            running.gateway.history.sample()
        await run_script("latency.test.mjs", running.url, tmp_path)
