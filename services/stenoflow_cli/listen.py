"""``stenoflow listen``: this machine's microphone, written down as one speaks."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire
from stenoflow_cli.address import greet, stream_address
from stenoflow_cli.microphone import BLOCK_S, Microphone, microphones
from stenoflow_cli.streaming import Stream
from stenoflow_cli.view import CaptionView


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """What the command line said."""

    url: str
    device: str | None
    name: str
    bundle: str | None
    second_pass: str | None
    boost: Sequence[str]
    token: str | None


def print_microphones(console: Console) -> None:
    """One a line: number, name, rate; a star at the usual one.

    Raises:
        ConfigError: see :func:`stenoflow_cli.microphone.microphones`.
    """
    found = microphones()
    for device in found:
        mark = "*" if device.usual else " "
        console.print(f"{mark} {device.number:>3}  {escape(device.name)}  ({device.sample_rate} Hz)", highlight=False)
    if not found:
        console.print("this machine has no microphone", highlight=False)


async def listen(options: ListenOptions, console: Console) -> None:
    """Streams the microphone until Ctrl-C, and shows captions; what was said before it still comes as finals.

    Raises:
        ConfigError: there is no microphone that can be used.
        ClientError: the gateway refused it; ``microphone_lost``: the device went away (its last words were shown).
    """
    url = stream_address(options.url)
    microphone = Microphone(options.device)
    await greet(url)
    loop = asyncio.get_running_loop()
    stopped = False
    began: float | None = None
    start = wire.Start(
        kind="live",
        bundle=options.bundle,
        second_pass=options.second_pass,
        boost=tuple(wire.Boost(phrase=phrase) for phrase in options.boost),
        tracks=(wire.TrackRequest(name=options.name, sample_rate=microphone.sample_rate),),
    )

    def stop() -> None:
        nonlocal stopped
        stopped = True
        loop.remove_signal_handler(signal.SIGINT)  # the second one ends it at once
        microphone.stop()

    with CaptionView(console, [options.name], lambda: began, loop.time) as view:
        async with microphone, Stream(url, start, view.show, token=options.token) as call:
            loop.add_signal_handler(signal.SIGINT, stop)
            try:
                console.print(
                    f"[green]●[/] listening: [bold]{escape(microphone.device.name)}[/]. Speak; Ctrl-C ends it.",
                    highlight=False,
                )
                async for samples in microphone:
                    began = began or loop.time() - BLOCK_S
                    await call.say(0, samples)
                await call.finish()
            finally:
                loop.remove_signal_handler(signal.SIGINT)
    if not stopped:
        raise ClientError("microphone_lost", f"'{microphone.device.name}' went away: plug it in, and begin again")
