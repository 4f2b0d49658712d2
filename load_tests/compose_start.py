"""How long from ``docker compose up`` to the first caption, and how large the images are.

    python -m load_tests.compose_start          the stack must be down, its images built (make images)

Talks to Docker through its command line; ends the stack again and removes its volumes, so that each run starts as the
first one does.
"""

from __future__ import annotations

import asyncio
import subprocess
import time

from stenoflow.audio.files import open_audio
from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire
from stenoflow_cli.sample import sample_path
from stenoflow_cli.streaming import Stream

BASE = "python:3.11-slim"
IMAGES = ("gateway", "features", "acoustic", "decoder", "second-pass")
SERVICES = ("redis", *IMAGES)
CHUNK_S = 0.16
RUNS = 3
URL = "ws://127.0.0.1:8000/v1/stream"


def docker(*arguments: str) -> str:
    """Runs Docker and returns what it printed."""
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def sizes() -> None:
    """Prints each image's size, and how much of it lies above the base."""
    base = int(docker("image", "inspect", "--format", "{{.Size}}", BASE))
    print(f"{BASE}: {base / 1e6:.0f} MB")
    for name in IMAGES:
        size = int(docker("image", "inspect", "--format", "{{.Size}}", f"stenoflow/{name}:dev"))
        print(f"{name}: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} above its base")


async def first_caption() -> float:
    """Calls until a call is taken, speaks the sample at the pace of speech, returns when its first words come."""
    audio = open_audio(sample_path())
    size = int(audio.sample_rate * CHUNK_S) * 2
    (sound, *_) = (b"".join(pieces) for pieces in zip(*audio.blocks(), strict=True))
    start = wire.Start(tracks=(wire.TrackRequest(name="agent", sample_rate=audio.sample_rate),))
    heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def look(message: object) -> None:
        if isinstance(message, wire.Partial | wire.Final) and message.text and not heard.done():
            heard.set_result(time.monotonic())

    while True:
        try:
            async with Stream(URL, start, look, give_up_s=0) as call:
                for begin in range(0, len(sound), size):
                    await call.say(0, sound[begin : begin + size])
                    await asyncio.sleep(CHUNK_S)
                    if heard.done():
                        return heard.result()
        except ClientError:
            await asyncio.sleep(0.1)


async def start() -> tuple[float, float]:
    """Starts the stack and calls it from the first moment on.

    Returns:
        seconds until all of it was healthy, and until the first words.
    """
    began = time.monotonic()

    def up() -> float:
        docker("compose", "up", "--detach", "--wait", "--no-build", *SERVICES)
        return time.monotonic()

    async with asyncio.TaskGroup() as both:
        healthy = both.create_task(asyncio.to_thread(up))
        caption = both.create_task(first_caption())
    return healthy.result() - began, caption.result() - began


def main() -> None:
    """Prints sizes and times."""
    sizes()
    for _ in range(RUNS):
        try:
            healthy, caption = asyncio.run(start())
        finally:
            docker("compose", "down", "--volumes")
        print(f"the first words {caption:.1f} s after `up`, all healthy {healthy:.1f} s", flush=True)


if __name__ == "__main__":
    main()
