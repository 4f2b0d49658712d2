"""From a name in the settings to a warm model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stenoflow.base.errors import ConfigError
from stenoflow_second_pass.models import moonshine, transformers_model, whisper
from stenoflow_second_pass.models.base import SpeechModel
from stenoflow_second_pass.models.weights import missing

AUTO: Final = "auto"

DEFAULTS: Final = {
    moonshine.NAME: moonshine.RUNTIME | moonshine.WHEEL,
    whisper.NAME: whisper.RUNTIME | whisper.WHEEL,
}
"""What ``auto`` takes, the first whose packages are all installed."""


def load_model(name: str, device: str) -> SpeechModel:
    """Loads a model.

    Args:
        name: ``whisper-tiny.en``, ``moonshine-tiny-en``, ``whisper:<size or folder>``, ``moonshine:<folder>``,
            ``transformers:<folder or name>``, or ``auto``: the first of ``DEFAULTS`` that is installed.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        ConfigError: there is no such model, or a package or the device is missing; the message says what to do.
        BundleError: the model's files are missing, damaged, or others than this code was measured with.
    """
    kind, _, where = name.partition(":")
    match kind, where:
        case "auto", "":
            return load_model(_installed(), device)
        case moonshine.NAME, "":
            return moonshine.load_moonshine(device)
        case whisper.NAME, "":
            return whisper.load_whisper(device)
        case "moonshine", str() if where:
            return moonshine.load_moonshine(device, Path(where))
        case "whisper", str() if where:
            return whisper.load_whisper(device, where)
        case "transformers", str() if where:
            return transformers_model.load_transformers(device, where)
    raise ConfigError(
        "model_unknown",
        f"there is no model {name!r}: give {AUTO}, {', '.join(DEFAULTS)}, whisper:<size or folder>, "
        "moonshine:<folder> or transformers:<folder>",
    )


def installed_model() -> str | None:
    """The name that ``auto`` stands for here, None where no model is installed."""
    return next((name for name, packages in DEFAULTS.items() if not missing(packages)), None)


def _installed() -> str:
    if (name := installed_model()) is not None:
        return name
    wanted = " ".join(f"'{requirement}'" for requirement in next(iter(DEFAULTS.values())).values())
    raise ConfigError("model_missing", f"no model for the second pass is installed: pip install {wanted}")
