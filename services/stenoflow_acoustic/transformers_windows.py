"""A CTC model of the transformers library behind the port of windows.

Torch and transformers are imported here, inside the constructor, and nowhere else in this service: only a worker that
serves such a bundle needs them. Weights are read from safetensors alone, and no code of a model's own is run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bundle.loading import CARD, Bundle
from stenoflow_acoustic.engine import Device, Floats


class TransformersWindows:
    """The model of a folder; see :class:`stenoflow_acoustic.windows.WindowModel`.

    Args:
        folder: ``config.json``, ``preprocessor_config.json`` and weights as safetensors.
        device: where to run; what is asked for and missing is refused.

    Raises:
        ConfigError: torch, transformers or the device is not there.
        BundleError: the folder holds no such model.
    """

    precision = "float32"

    def __init__(self, folder: Path, device: Device = "auto") -> None:
        if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
            raise ConfigError(
                "torch_missing",
                f"the model in {folder} needs torch and transformers: pip install 'stenoflow[acoustic-torch]'",
            )
        import torch
        import transformers

        from stenoflow_acoustic.torch_device import torch_device

        self._torch: Any = torch
        self.device = torch_device(device)
        load: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        extractors: Any = transformers.AutoFeatureExtractor
        try:
            self._extractor: Any = extractors.from_pretrained(folder, **load)
            model: Any = transformers.AutoModelForCTC.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, **load
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BundleError("bundle_model", f"{folder} is no CTC model for transformers: {error}") from None
        rate = getattr(self._extractor, "sampling_rate", SAMPLE_RATE)
        if rate != SAMPLE_RATE:
            raise BundleError("bundle_model", f"the model in {folder} hears {rate} Hz; only 16000 Hz can be served")
        self._model = model.to(self.device).eval()
        self.config: Any = model.config

    @classmethod
    def of(cls, bundle: Bundle, device: Device = "auto") -> TransformersWindows:
        """The model of a verified bundle.

        Raises:
            BundleError: beside the bundle's files lie others that the library would read too, and nobody verified.
        """
        # It looks for files by name (a preprocessor, an adapter, other weights), whatever the card lists.
        names = {path.name for path in bundle.folder.iterdir() if path.suffix in (".json", ".safetensors")}
        if strange := sorted(names - {CARD, *bundle.card.files}):
            raise BundleError(
                "bundle_file_unlisted", f"{bundle.folder / CARD} does not list {', '.join(strange)}: remove it"
            )
        return cls(bundle.folder, device)

    def emissions(self, windows: Floats) -> Floats:
        """See the port; windows are 10 ms frames of samples."""
        sounds = list(windows.reshape(len(windows), -1))
        inputs = self._extractor(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with self._torch.inference_mode():
            logits = self._model(**{name: value.to(self.device) for name, value in inputs.items()}).logits
            said: Floats = logits.float().log_softmax(-1).cpu().numpy()
        return said
