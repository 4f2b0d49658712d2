"""A bundle that hears a script: each letter is a level of sound, so what a call says is known to the last letter.

All of the stages are real but for the network that tells speech from silence: here whatever is not zero is speech.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow_features.detector import FRAME, Detector, Heard, Window

SYMBOLS = (*"abcdefghij", "|", "")
SEPARATOR, BLANK = 10, 11
EMISSION_MS = 20
LETTER = SAMPLE_RATE * EMISSION_MS // 1000
"""Each lasts as long as an emission, and so does the little sound after it; both begin where emissions may."""
FILE = "model.onnx"
LEVEL = 1000
"""Of symbol n: (n + 1) of these; the blank's is the least that counts as sound."""
PAUSE_S = 0.8
"""More than the hang-over, so that the utterance ends."""


class AnySound(Detector):
    """Whatever is not zero is speech."""

    def __init__(self) -> None:
        pass

    def hear(self, windows: Sequence[Window]) -> list[Heard]:
        return [Heard(float(window.samples[-FRAME:].any()), window.memory) for window in windows]


def spoken(utterances: Sequence[str]) -> bytes:
    """The sound of a script, 16 kHz 16-bit."""
    levels: list[int] = []
    for utterance in utterances:
        for letter in utterance.replace(" ", "|"):
            levels += [(SYMBOLS.index(letter) + 1) * LEVEL, LEVEL // 4]
        levels += [0] * round(PAUSE_S * SAMPLE_RATE / LETTER)
    return np.repeat(np.asarray(levels, "<i2"), LETTER).tobytes()


def make_bundle(folder: Path) -> Path:
    """A bundle whose model reads the levels."""
    folder.mkdir(parents=True)
    onnx.save(_model(), folder / FILE)
    card = {
        "format": 1,
        "name": "scripted",
        "version": "0",
        "language": "en",
        "description": "levels of sound are letters",
        "licences": ["Apache-2.0"],
        "features": {"kind": "waveform", "sample_rate": SAMPLE_RATE, "hop_ms": 10},
        "acoustic": {
            "kind": "windowed",
            "runtime": "onnx",
            "file": FILE,
            "precision": "float32",
            "emission_ms": EMISSION_MS,
            "overhang_frames": 0,
            "presets": {"balanced": {"left_ms": 0, "step_ms": 160, "right_ms": 0}},
        },
        "tokens": {"symbols": list(SYMBOLS), "blank": BLANK, "separator": SEPARATOR},
        "decoder": {"lm_weight": 0.0, "word_score": 0.0, "beam_width": 4, "unknown_score": 0.0},
        "measured": [],
        "files": {FILE: hashlib.sha256((folder / FILE).read_bytes()).hexdigest()},
    }
    (folder / "bundle.json").write_text(json.dumps(card))
    return folder


def _model() -> onnx.ModelProto:
    """The middle sample of every emission, by its level a symbol; what is none is a blank."""
    nodes = [
        helper.make_node("Slice", ["sound", "begin", "end", "axes", "strides"], ["picked"]),
        helper.make_node("Mul", ["picked", "levels"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["level"]),
        helper.make_node("Unsqueeze", ["level", "last"], ["column"]),
        helper.make_node("Equal", ["column", "symbols"], ["is_symbol"]),
        helper.make_node("Cast", ["is_symbol"], ["hit"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["hit", "height"], ["logits"]),
    ]
    constants = {
        "begin": np.array([LETTER // 2], np.int64),
        "end": np.array([1 << 40], np.int64),
        "axes": np.array([1], np.int64),
        "strides": np.array([LETTER], np.int64),
        "last": np.array([2], np.int64),
        "levels": np.array(32_768 / LEVEL, np.float32),  # the stage gives sound from -1 to 1
        # The blank, last, is level 0: silence, and the little between letters.
        "symbols": np.array([*range(1, BLANK + 1), 0], np.float32),
        "height": np.array(20.0, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "scripted",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, ["B", "N"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "U", len(SYMBOLS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
