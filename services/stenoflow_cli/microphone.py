"""This machine's microphones: which there are, and sound from one as it is spoken.

PortAudio does it, through the package sounddevice; both are looked for only when a microphone is asked for.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from stenoflow.base.errors import ConfigError
from stenoflow.base.positions import CLIENT_RATES, SAMPLE_RATE
from stenoflow_cli.up import PIP, extra

BLOCK_S = 0.02


@dataclass(frozen=True, slots=True)
class Device:
    """A microphone.

    Args:
        number: by which it can be asked for; it may change when something is plugged in.
        name: a part of it will do too.
        sample_rate: its own, Hz.
        usual: it is taken where none is named.
    """

    number: int
    name: str
    sample_rate: int
    usual: bool


def microphones() -> list[Device]:
    """What this machine can listen with; empty where there is nothing.

    Raises:
        ConfigError: ``extra_missing`` or ``portaudio_missing``.
    """
    library = _library()
    usual = library.default.device[0]
    return [
        Device(number, str(found["name"]), round(found["default_samplerate"]), number == usual)
        for number, found in enumerate(library.query_devices())
        if found["max_input_channels"] > 0
    ]


class Microphone:
    """A microphone that is listened to; 16-bit little-endian samples of one channel.

        async with Microphone(None) as microphone:
            async for samples in microphone:
                …

    Args:
        wanted: a device's number or a part of its name; None for the machine's usual one.

    Attributes:
        device: the one that was found.
        sample_rate: Hz: 16,000 where the device can, else another that gateways take.

    Raises:
        ConfigError: ``extra_missing``, ``portaudio_missing``, ``no_microphone`` or ``unknown_microphone``; on entering,
            ``microphone_unusable``.
    """

    def __init__(self, wanted: str | None) -> None:
        self._library = _library()
        self.device = _chosen(wanted, microphones())
        self.sample_rate = self._rate()
        self._blocks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None

    async def __aenter__(self) -> Self:
        try:
            self._stream = self._library.RawInputStream(
                samplerate=self.sample_rate,
                blocksize=round(BLOCK_S * self.sample_rate),
                device=self.device.number,
                channels=1,
                dtype="int16",
                callback=self._heard,
                finished_callback=self._over,
            )
            self._stream.start()
        except self._library.PortAudioError as error:
            raise self._unusable(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Blocks of 20 ms, until :meth:`stop`, or until the device is gone."""
        while (block := await self._blocks.get()) is not None:
            yield block

    def stop(self) -> None:
        """Nothing more is listened to; what was heard still comes."""
        self._stream.stop()
        self._blocks.put_nowait(None)

    # PortAudio calls these on a thread of its own.

    def _heard(self, samples: Any, frames: int, time: Any, status: Any) -> None:
        self._loop.call_soon_threadsafe(self._blocks.put_nowait, bytes(samples))

    def _over(self) -> None:
        self._loop.call_soon_threadsafe(self._blocks.put_nowait, None)

    def _rate(self) -> int:
        """The first rate that the device takes: the model's own, the device's own, any other."""
        last: Exception | None = None
        for rate in dict.fromkeys((SAMPLE_RATE, self.device.sample_rate, *sorted(CLIENT_RATES, reverse=True))):
            if rate in CLIENT_RATES:
                try:
                    self._library.check_input_settings(
                        device=self.device.number, channels=1, dtype="int16", samplerate=rate
                    )
                    return rate
                except self._library.PortAudioError as error:
                    last = error
        raise self._unusable(last)

    def _unusable(self, error: Exception | None) -> ConfigError:
        return ConfigError(
            "microphone_unusable",
            f"'{self.device.name}' cannot be listened to ({error}): close what else uses it, allow it to this program, "
            "or name another with --device",
        )


def _chosen(wanted: str | None, found: list[Device]) -> Device:
    if not found:
        raise ConfigError(
            "no_microphone", "this machine has no microphone that can be used: plug one in, or let this program see it"
        )
    if wanted is None:
        return next((device for device in found if device.usual), found[0])
    # A number first: it may also be a part of another one's name.
    fitting = [device for device in found if wanted == str(device.number)]
    fitting += [device for device in found if wanted.lower() in device.name.lower()]
    if fitting:
        return fitting[0]
    raise ConfigError(
        "unknown_microphone",
        f"there is no microphone '{wanted}'; there are: "
        + ", ".join(f"{device.number} ({device.name})" for device in found),
    )


def _library() -> Any:
    """The package sounddevice, which loads PortAudio as it is imported."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise ConfigError("extra_missing", f"sounddevice is not installed: {PIP} {extra('listen')}") from None
    except OSError:
        raise ConfigError(
            "portaudio_missing",
            "the microphone is reached through PortAudio, which is not installed: apt-get install libportaudio2",
        ) from None
