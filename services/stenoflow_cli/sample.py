"""The spoken sample, streamed at the pace of speech."""

from __future__ import annotations

import asyncio
import statistics
import sys
from pathlib import Path

from rich.console import Console

from stenoflow.audio.files import AudioFile, open_audio
from stenoflow.base.errors import ConfigError
from stenoflow.protocol import messages as wire
from stenoflow_cli.streaming import Stream
from stenoflow_cli.view import CaptionView

CHUNK_S = 0.16
SPEAKERS = ("agent", "customer")
PLACES = (
    Path(__file__).resolve().parents[2] / "shared" / "samples",
    Path(sys.prefix) / "share" / "stenoflow" / "samples",
)


def sample_path() -> Path:
    """The sample that comes with Stenoflow, in a checkout or an installation.

    Raises:
        ConfigError: it is not there.
    """
    for place in PLACES:
        if (path := place / "two-sided-call.flac").is_file():
            return path
    raise ConfigError("no_sample", "the spoken sample is not installed: run from a checkout, or reinstall stenoflow")


async def play_sample(stream_url: str, console: Console, token: str | None = None) -> None:
    """Streams the sample at real pace and prints its captions with their latency.

    Args:
        stream_url: where to.
        console: where captions go.
        token: an access token, where the gateway asks for one.

    Raises:
        ClientError: the gateway refused it.
    """
    audio = open_audio(sample_path())
    console.print(f"[dim]a spoken sample, {audio.seconds:.0f} s, two tracks, at the pace of speech:[/]")
    names = SPEAKERS[: audio.channels]
    latencies = await stream_live(audio, names, stream_url, console, token)
    if latencies:
        console.print(
            f"[dim]time from the end of an utterance's last word to its final caption: median "
            f"{statistics.median(latencies) * 1000:.0f} ms, largest {max(latencies) * 1000:.0f} ms "
            f"(the pause that ends an utterance, 480 ms, is part of it)[/]",
            highlight=False,
        )


async def stream_live(
    audio: AudioFile, names: tuple[str, ...], stream_url: str, console: Console, token: str | None = None
) -> list[float]:
    """Streams a file as if it were spoken now; returns the latencies of its finals, seconds."""
    loop = asyncio.get_running_loop()
    began: float | None = None
    start = wire.Start(
        kind="live", tracks=tuple(wire.TrackRequest(name=name, sample_rate=audio.sample_rate) for name in names)
    )
    with CaptionView(console, names, lambda: began, loop.time) as view:
        async with Stream(stream_url, start, view.show, give_up_s=20, token=token) as call:
            size = round(CHUNK_S * audio.sample_rate) * 2
            began = loop.time()
            sent = 0
            for block in audio.blocks():
                for offset in range(0, max(map(len, block)), size):
                    sent += 1
                    # An open loop: each chunk is due by the clock, however slow the answers are.
                    await asyncio.sleep(max(0.0, began + sent * CHUNK_S - loop.time()))
                    for track, samples in enumerate(block):
                        await call.say(track, samples[offset : offset + size])
            await call.finish()
    return view.final_latencies
