"""Writes a bundle's card, `bundle.json`, with the hashes of everything that is loaded."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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


def write_card(
    folder: Path,
    *,
    version: str,
    flush_frame: npt.NDArray[np.float32],
    look_ahead: int,
    decoder: dict[str, float],
    measured: list[dict[str, Any]],
) -> None:
    """Writes ``bundle.json`` (format 1) for the files that lie in `folder`.

    Args:
        flush_frame: log-mel frame that is fed to flush the look-ahead at the end of a segment, [80].
        look_ahead: in steps.
        decoder: lm_weight, word_score, beam_width, unknown_score.
        measured: rows of set, condition, wer, cer and the intervals.
    """
    loaded = ["model.onnx", "initial_state.safetensors", "lm.binary", "lexicon.txt"]
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
            "precision": "int8",
            "initial_state": "initial_state.safetensors",
            "step_frames": FRAMES,
            "emissions_per_step": EMISSIONS,
            "look_ahead_ms": 40 * look_ahead,
        },
        "tokens": {"symbols": [*SYMBOLS, "<blank>"], "blank": BLANK, "separator": 0},
        "decoder": {"language_model": "lm.binary", "lexicon": "lexicon.txt", **decoder},
        "measured": measured,
        "files": {name: sha256((folder / name).read_bytes()).hexdigest() for name in loaded},
    }
    (folder / "bundle.json").write_text(json.dumps(card, indent=1) + "\n", "utf-8")
