"""Voices that say a sentence without a network: the training environment has them, nothing that is served does.

`hibari:heart` is a small neural voice (PyPI `hibari-tts`, Apache-2.0), `flite:slt`, `flite:rms`, `flite:awb` and
`flite:kal16` are the voices of CMU Flite (Debian `flite`, free for every use), which is called as a program.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final, Protocol

import soundfile

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.data import Samples

FLITE: Final = ("slt", "rms", "awb", "kal16")


class Voice(Protocol):
    """Says sentences."""

    rate: int
    """Hz of what `say` returns."""

    def say(self, text: str, speed: float) -> Samples:
        """A normalised sentence as mono samples [N] in [-1, 1], `speed` times as fast as the voice speaks by itself."""
        ...


def load_voice(name: str) -> Voice:
    """The voice of this name, ``engine:voice``.

    Raises:
        ConfigError: there is no such voice, or what speaks it is not installed.
    """
    engine, _, voice = name.partition(":")
    if engine == "hibari":
        return Hibari(voice or "heart")
    if engine == "flite" and voice in FLITE:
        return Flite(voice)
    known = ", ".join(["hibari:heart", *(f"flite:{one}" for one in FLITE)])
    raise ConfigError("voice_missing", f"there is no voice {name}: take one of {known}")


class Hibari:
    """A voice of `hibari-tts`, of which the package brings one ("heart"); about 50 times as fast as speech a core."""

    rate = 24_000

    def __init__(self, voice: str) -> None:
        try:
            import hibari
        except ImportError:
            raise ConfigError(
                "voice_missing", "hibari-tts is not installed: pip install 'stenoflow[synthesis]'"
            ) from None
        try:
            self._voice: Any = hibari.Hibari(voice=voice)
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            raise ConfigError("voice_missing", f"hibari has no voice {voice}: {error}") from None

    def say(self, text: str, speed: float) -> Samples:
        """See :class:`Voice`."""
        samples: Samples = self._voice(f"{text}.", speed=speed)
        return samples


class Flite:
    """A voice of the program `flite`."""

    rate = 16_000

    def __init__(self, voice: str) -> None:
        program = shutil.which("flite")
        if program is None:
            raise ConfigError("voice_missing", "the program flite is not installed: apt-get install flite")
        self._program, self._voice = program, voice

    def say(self, text: str, speed: float) -> Samples:
        """See :class:`Voice`."""
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "said.wav"
            stretch = f"duration_stretch={1 / speed:.3f}"
            command = [self._program, "-voice", self._voice, "--setf", stretch, "-t", f"{text}.", "-o", str(sound)]
            subprocess.run(command, check=True, capture_output=True)
            samples, _ = soundfile.read(sound, dtype="float32")
        said: Samples = samples
        return said
