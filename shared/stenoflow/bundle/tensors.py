"""Safetensors files of a bundle, as numpy arrays. Apart from ``loading``: the decoder needs neither package."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from stenoflow.base.errors import BundleError
from stenoflow.bundle.loading import RESTORE, Bundle


def load_tensors(bundle: Bundle, file: str) -> dict[str, npt.NDArray[Any]]:
    """All tensors of a listed safetensors file, by name.

    Raises:
        BundleError: unlisted, changed, or not of that format.
    """
    try:
        tensors: dict[str, npt.NDArray[Any]] = load(bundle.read(file))
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(
            "bundle_tensors", f"{bundle.folder / file} holds no tensors for numpy ({error}): {RESTORE}"
        ) from None
    return tensors
