"""Any CTC checkpoint of the transformers library: wav2vec2, HuBERT, WavLM, Parakeet-CTC and others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.base.positions import GRID
from stenoflow_acoustic.adding.draft import Draft
from stenoflow_acoustic.adding.measuring import measure_output, windowed_card
from stenoflow_acoustic.adding.vocabulary import tokens_card
from stenoflow_acoustic.transformers_windows import TransformersWindows

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
PROCESSOR = "processor_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(source: str) -> bool:
    """Whether a source that is no path can be a model's name on Hugging Face."""
    return _HUB_NAME.fullmatch(source) is not None


def fetch(name: str) -> Path:
    """A model from Hugging Face into its cache; pickled weights are not fetched.

    Raises:
        ConfigError: the library is missing, or the model cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(
            "torch_missing", f"{name} needs torch and transformers: pip install 'stenoflow[acoustic-torch]'"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=_FETCHED))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            "hub_unreachable",
            f"{name} cannot be fetched from Hugging Face ({reason}): fetch it where there is a network, and give its "
            "folder",
        ) from None


def draft_of(folder: Path, source: str) -> Draft:
    """What the folder of a checkpoint makes.

    Args:
        folder: as ``save_pretrained`` of model and processor leaves it.
        source: what the user called it.

    Raises:
        BundleError: no CTC model, no safetensors, or a vocabulary without words.
        ConfigError: torch or transformers is missing.
    """
    weights = _weights(folder)
    model = TransformersWindows(folder, "cpu")
    config: Any = model.config
    output = measure_output(model.emissions, GRID)
    symbols, separator = _symbols(folder)
    names = [CONFIG, *(each for each in (PREPROCESSOR, PROCESSOR) if (folder / each).is_file()), *weights]
    return Draft(
        description=f"{config.model_type} of transformers, from {source}",
        features={"kind": "waveform", "sample_rate": 16_000, "hop_ms": 10},
        acoustic=windowed_card(output, runtime="transformers", file=CONFIG, precision="float32"),
        tokens=tokens_card(symbols, output.symbols, config.pad_token_id, separator),
        files={name: folder / name for name in names},
        version=folder.resolve().name if folder.parent.name == "snapshots" else "1",
        licence=_licence(folder),
    )


def _weights(folder: Path) -> list[str]:
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / INDEX).is_file():
        try:
            parts = {str(each) for each in json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, AttributeError):
            raise BundleError("weights_missing", f"{folder / INDEX} is damaged: fetch the model again") from None
        if any(Path(part).name != part or not part.endswith(".safetensors") for part in parts):
            raise BundleError("weights_missing", f"{folder / INDEX} names files elsewhere: fetch the model again")
        return [INDEX, *sorted(parts)]
    pickles = sorted(each.name for each in folder.glob("*.bin"))
    if pickles:
        raise BundleError(
            "weights_unsafe",
            f"{folder / pickles[0]} is a pickle, which can run code when it is loaded, so it is not: convert it with "
            f"AutoModelForCTC.from_pretrained({str(folder)!r}).save_pretrained('converted') where you trust it",
        )
    raise BundleError("weights_missing", f"{folder} has no {WEIGHTS}: fetch the whole model")


def _symbols(folder: Path) -> tuple[dict[int, str], str | None]:
    """The tokenizer's symbols, and the one between words if it says one."""
    import transformers

    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call, unused-ignore]
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError("tokens_damaged", f"{folder} has no tokenizer that can be read: {error}") from None
    return {index: symbol for symbol, index in tokenizer.get_vocab().items()}, getattr(
        tokenizer, "word_delimiter_token", None
    )


def _licence(folder: Path) -> str:
    try:
        head = (folder / "README.md").read_text("utf-8").split("---")
    except (OSError, UnicodeDecodeError):
        head = []
    found = re.search(r"^license:\s*(\S+)", head[1], re.M) if len(head) > 2 else None
    return f"{found[1]}, as its model card says" if found else "not stated: see where the model came from"
