"""The microphone: a stand-in for PortAudio plays what is spoken, and real captions come of a real gateway's socket."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from stenoflow.base.errors import ClientError, ConfigError
from stenoflow_cli.listen import ListenOptions, listen, print_microphones
from stenoflow_cli.microphone import Microphone
from tests.unit.gateway.harness import LIMIT_S, running_gateway
from tests.unit.gateway.test_app import heard
from tests.unit.gateway.world import UTTERANCE, sound

RATE = 16_000


class PortAudio(ModuleType):
    """As much of the package sounddevice as is used; its streams play a sound and then wait, or vanish."""

    def __init__(self, names: list[str], *, said: bytes = b"", rates: tuple[int, ...] = (RATE,)) -> None:
        super().__init__("sounddevice")
        self.PortAudioError = type("PortAudioError", (Exception,), {})
        self.default = SimpleNamespace(device=(1, 1))
        self.names, self.said, self.rates = names, said, rates
        self.vanishes = self.busy = False
        self.played = threading.Event()
        self.opened: list[dict[str, Any]] = []

    def query_devices(self) -> list[dict[str, Any]]:
        speaker = {"name": "Speaker", "default_samplerate": 48_000.0, "max_input_channels": 0}
        found = [{"name": name, "default_samplerate": 44_100.0, "max_input_channels": 2} for name in self.names]
        return [speaker, *found]

    def check_input_settings(self, *, samplerate: int, **_: Any) -> None:
        if samplerate not in self.rates:
            raise self.PortAudioError("Invalid sample rate")

    def RawInputStream(self, **options: Any) -> Any:  # noqa: N802
        if self.busy:
            raise self.PortAudioError("Device unavailable")
        self.opened.append(options)
        size = 2 * options["blocksize"]

        def play() -> None:
            for begin in range(0, len(self.said), size):
                options["callback"](self.said[begin : begin + size], size // 2, None, None)
            self.played.set()
            if self.vanishes:
                options["finished_callback"]()

        nothing = SimpleNamespace(stop=lambda: None, close=lambda: None)
        return SimpleNamespace(start=threading.Thread(target=play).start, **vars(nothing))


def plug(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", library)


def options(url: str) -> ListenOptions:
    return ListenOptions(url, None, "me", None, None, (), None)


async def listened(url: str) -> str:
    output = io.StringIO()
    await asyncio.wait_for(listen(options(url), Console(file=output, width=300)), LIMIT_S)
    return output.getvalue()


async def test_what_is_spoken_is_shown_and_ctrl_c_waits_for_the_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    microphone = PortAudio(["Built-in"], said=sound(0, 2 * UTTERANCE + 320))
    plug(monkeypatch, microphone)
    async with running_gateway(text="hello") as running:
        interrupting = asyncio.create_task(asyncio.to_thread(microphone.played.wait, LIMIT_S))
        interrupting.add_done_callback(lambda _: os.kill(os.getpid(), signal.SIGINT))
        said = await listened(running.stream_url)
    assert said.startswith("● listening: Built-in")
    assert said.count("word") == 3, "the third is what was open when it was interrupted"
    assert microphone.opened[0]["samplerate"] == RATE


async def test_no_sample_is_lost_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    microphone = PortAudio(["Built-in"], said=sound(0, UTTERANCE))
    microphone.vanishes = True
    plug(monkeypatch, microphone)
    shown: list[Any] = []
    monkeypatch.setattr("stenoflow_cli.view.CaptionView.show", lambda _, message: shown.append(message))
    async with running_gateway() as running:
        with pytest.raises(ClientError, match="went away") as lost:
            await listened(running.stream_url)
    assert lost.value.code == "microphone_lost"
    assert [message.text for message in shown if message.type == "final"] == [heard(0, UTTERANCE)]


@pytest.mark.parametrize(("rates", "expected"), [((16_000, 48_000), 16_000), ((44_100, 48_000), 44_100)])
async def test_the_rate_is_one_that_device_and_gateway_take(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[int, ...], expected: int
) -> None:
    plug(monkeypatch, PortAudio(["Built-in"], rates=rates))
    assert Microphone(None).sample_rate == expected


@pytest.mark.parametrize(("wanted", "number"), [(None, 1), ("2", 2), ("headset", 2)])
async def test_a_microphone_is_named_by_number_or_by_a_part_of_its_name(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, number: int
) -> None:
    plug(monkeypatch, PortAudio(["Built-in", "USB Headset"]))
    assert Microphone(wanted).device.number == number


async def test_what_is_missing_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def code(wanted: str | None = None) -> str:
        with pytest.raises(ConfigError) as refused:
            async with Microphone(wanted):
                pass
        return refused.value.code

    plug(monkeypatch, None)  # as where it is not installed
    assert await code() == "extra_missing"
    plug(monkeypatch, PortAudio([]))
    assert await code() == "no_microphone"
    plug(monkeypatch, PortAudio(["Built-in"]))
    assert await code("headset") == "unknown_microphone"
    plug(monkeypatch, PortAudio(["Built-in"], rates=()))
    assert await code() == "microphone_unusable"
    busy = PortAudio(["Built-in"])
    busy.busy = True
    plug(monkeypatch, busy)
    assert await code() == "microphone_unusable"


async def test_without_portaudio_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(_: str) -> Any:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr("stenoflow_cli.microphone.importlib.import_module", no_library)
    with pytest.raises(ConfigError, match="libportaudio2") as refused:
        Microphone(None)
    assert refused.value.code == "portaudio_missing"


def test_microphones_are_listed_with_the_usual_one_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, PortAudio(["Built-in", "USB [1]"]))
    output = io.StringIO()
    print_microphones(Console(file=output, width=100))
    assert output.getvalue() == "*   1  Built-in  (44100 Hz)\n    2  USB [1]  (44100 Hz)\n"
