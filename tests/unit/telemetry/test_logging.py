"""Every line is an event of ours, and nothing that was said gets into one by way of an exception or a library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, logging, threading, warnings
from pydantic import BaseModel
from stenoflow.telemetry.logging import set_up_logging
set_up_logging("test", json=True)

class Text(BaseModel):
    words: int

def bug():
    try:
        Text.model_validate({{"words": "canary"}})
    except ValueError as error:
        raise RuntimeError("canary\\ncanary") from error

{what}
"""
WAYS = {
    "a bug": "bug()",
    "a bug in a thread": "thread = threading.Thread(target=bug); thread.start(); thread.join()",
    "a bug in a group of tasks": """
async def fall():
    bug()
async def main():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fall())
asyncio.run(main())
""",
    "a task that nobody waited for": """
async def fall():
    bug()
async def main():
    asyncio.create_task(fall())
    await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "a library's line": "logging.getLogger('uvicorn.error').error('said: %s', 'canary')",
    "a library's exception": "logging.getLogger('uvicorn.error').error('canary', exc_info=ValueError('canary'))",
    "a warning": "warnings.warn('canary\\ncanary')",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_line_is_an_event_and_says_no_word(way: str) -> None:
    code = PROGRAM.format(what=WAYS[way])
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    lines = [json.loads(line) for line in told.stderr.splitlines()]
    assert lines, "nothing was told"
    assert "canary" not in told.stderr + told.stdout
    for line in lines:
        assert {"event", "level", "timestamp", "service"} <= line.keys()
        assert line["service"] == "test"
    if "bug" in way or "task" in way or "exception" in way:
        assert any(name in told.stderr for name in ("RuntimeError", "ValueError")), "of which kind it was is told"
