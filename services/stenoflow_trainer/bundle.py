"""Writes a bundle's card, `bundle.json`, with the hashes of everything that is loaded."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stenoflow.alignment.words import Calibration
from stenoflow.base.errors import ConfigError
from stenoflow.bundle.card import NAME
from stenoflow_trainer.batches import SYMBOLS
from stenoflow_trainer.model import BINS, BLANK, EMISSIONS, FRAMES

LICENCES = [
    "Apache-2.0: acoustic weights, distilled from NVIDIA's QuartzNet15x5 (Apache-2.0)",
    "CC BY 4.0: training sound of LibriSpeech and speechocean762",
    "CC BY 4.0: text of banking77, Restaurant-8k, Taskmaster, PriMock57, AMI, ICSI",
    "Apache-2.0: training sound of Picovoice's commands and of AWS's demo calls",
    "CC BY-SA 4.0: lm.binary and lexicon.txt (counts of Earnings-21/22 and Schema-Guided Dialogue)",
    "CC0-1.0: training sound and prompts of Common Voice",
    "MIT: text of QMSum",
    "BSD-like: training sound of CMU AN4",
]
ABOUT = (
    "Small streaming English model: six causal FSMN segments of 40 ms steps that look 400 ms ahead, "
    "characters, CTC; 4-gram word model of conversations, calls and read sentences."
)


ACOUSTIC = ("model.onnx", "initial_state.safetensors")
LOADED = (*ACOUSTIC, "lm.binary", "lexicon.txt")


def based_on(base: Path, folder: Path) -> None:
    """Makes `folder` a bundle like `base`, under a name of its own (the folder's); one that is there stays.

    Its figures are not the base's: whoever changes a model measures it.

    Raises:
        ConfigError: `base` is no bundle, or the folder's name cannot be a bundle's.
    """
    if not (base / "bundle.json").exists():
        raise ConfigError("bundle_missing", f"{base} is no bundle: it has no bundle.json")
    if (folder / "bundle.json").exists():
        return
    if not re.fullmatch(NAME, folder.name):
        raise ConfigError(
            "bundle_name", f"{folder.name!r} cannot be a bundle's name: small letters, digits, '.', '_' and '-'"
        )
    shutil.copytree(base, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md"))
    card = json.loads((folder / "bundle.json").read_text("utf-8"))
    card |= {"name": folder.name, "description": f"{card['description']} Made from {card['name']}.", "measured": []}
    (folder / "bundle.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def served_chunk(folder: Path) -> int:
    """Steps of 40 ms that the bundle's graph takes at once."""
    card = json.loads((folder / "bundle.json").read_text("utf-8"))
    chunk: int = card["acoustic"]["step_frames"] // FRAMES
    return chunk


def rehash(folder: Path) -> None:
    """Puts the hashes of the bundle's files as they are now into its card, and takes its figures out if one changed."""
    card = json.loads((folder / "bundle.json").read_text("utf-8"))
    hashes = hashes_of(folder)
    if hashes != card["files"]:
        card |= {"files": hashes, "measured": []}
        (folder / "bundle.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


CONFIDENCE = "confidence"
FOUND = ("log_priors", CONFIDENCE)
"""What `calibrate` finds for a bundle, in its card's ``decoder``."""


def write_found(folder: Path, log_priors: Sequence[float], calibration: Calibration | None) -> None:
    """Puts what was found on dev into the bundle's card: the priors of its labels, and how often words are right."""
    card = json.loads((folder / "bundle.json").read_text("utf-8"))
    card["decoder"]["log_priors"] = [round(value, 3) for value in log_priors]
    card["decoder"].pop(CONFIDENCE, None)
    if calibration:
        card["decoder"][CONFIDENCE] = {name: round(value, 4) for name, value in asdict(calibration).items()}
    (folder / "bundle.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that is loaded."""
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in LOADED}


def write_card(
    folder: Path,
    *,
    version: str,
    flush_frame: npt.NDArray[np.float32],
    look_ahead: int,
    chunk: int,
    precision: str,
    decoder: dict[str, float],
    measured: list[dict[str, Any]],
) -> None:
    """Writes ``bundle.json`` (format 1) for the files in `folder`; what `calibrate` found stays while it is true.

    Args:
        flush_frame: log-mel frame that is fed to flush the look-ahead at the end of a segment, [80].
        look_ahead: in steps of 40 ms.
        chunk: how many of these the graph takes at once.
        precision: int8 or float32.
        decoder: lm_weight, word_score, beam_width, unknown_score, prior_weight.
        measured: rows of set, condition, wer, cer and the intervals.
    """
    hashes = hashes_of(folder)
    search = {"language_model": "lm.binary", "lexicon": "lexicon.txt", **decoder}
    if (folder / "bundle.json").exists():
        before = json.loads((folder / "bundle.json").read_text("utf-8"))
        found = {name: before["decoder"].pop(name) for name in FOUND if name in before["decoder"]}
        if any(before["files"].get(name) != hashes[name] for name in ACOUSTIC):
            found = {}
        elif before["files"] != hashes or before["decoder"] != search:
            found.pop(CONFIDENCE, None)  # what the search reads is right as often as it was only if it is the same
        search |= found
    card = {
        "format": 1,
        "name": "en-small",
        "version": version,
        "language": "en",
        "description": ABOUT,
        "licences": LICENCES,
        "features": {
            "kind": "fbank",
            "sample_rate": 16000,
            "bins": BINS,
            "frame_ms": 25,
            "hop_ms": 10,
            "flush_frame": [round(float(value), 4) for value in flush_frame],
        },
        "acoustic": {
            "kind": "stateful",
            "file": "model.onnx",
            "precision": precision,
            "initial_state": "initial_state.safetensors",
            "step_frames": FRAMES * chunk,
            "emissions_per_step": EMISSIONS * chunk,
            "look_ahead_ms": 40 * look_ahead,
        },
        "tokens": {"symbols": [*SYMBOLS, "<blank>"], "blank": BLANK, "separator": 0},
        "decoder": search,
        "measured": measured,
        "files": hashes,
    }
    (folder / "bundle.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
