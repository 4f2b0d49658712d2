"""Which teacher a folder holds."""

from __future__ import annotations

from pathlib import Path

from stenoflow.base.errors import ConfigError
from stenoflow.bundle.loading import CARD
from stenoflow_trainer.teacher import QuartzNet, Teacher


def load_teacher(folder: Path) -> Teacher:
    """The QuartzNet of a folder with an ONNX file, or a bundle.

    Raises:
        ConfigError: there is neither.
        BundleError: the bundle is damaged.
    """
    if (folder / CARD).is_file():
        # Imported here: those who train with levels need none of the services.
        from stenoflow_trainer.bundle_teacher import BundleTeacher

        return BundleTeacher(folder)
    model = next(folder.glob("*.onnx"), None)
    if model is None:
        raise ConfigError("teacher_missing", f"{folder} holds neither a bundle nor the ONNX file of a teacher")
    return QuartzNet(model)
