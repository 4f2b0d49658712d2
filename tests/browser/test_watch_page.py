"""The page for those who watch in Chromium, against a gateway in this process with a call: see watch.test.mjs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.browser.scripts import run_script
from tests.browser.test_page import _missing
from tests.unit.gateway.harness import running_gateway
from tests.unit.gateway.world import UTTERANCE, sound

UTTERANCES = 6


@pytest.mark.browser
@pytest.mark.timeout(300)
@pytest.mark.skipif(_missing("chromium") is not None, reason=_missing("chromium") or "")
async def test_the_call_is_listed_and_read(tmp_path: Path) -> None:
    # No limit to what waits unread: while the browser looks, nobody reads, and pings must still be answered.
    async with running_gateway() as running, running.dial(max_queue=None) as caller:
        started = await caller.start()
        for utterance in range(UTTERANCES):
            begin = utterance * UTTERANCE
            await caller.say(begin, sound(begin, begin + UTTERANCE))
            await caller.until("final", lambda final, end=begin + UTTERANCE: final.end == end)
        more = {"SESSION": started.session, "FINALS": str(UTTERANCES)}
        await run_script("watch.test.mjs", running.url, tmp_path, **more)
