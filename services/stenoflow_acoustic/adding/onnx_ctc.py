"""CTC models in ONNX: offline ones, which run in windows, and the two streaming layouts of sherpa-onnx."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from stenoflow.base.errors import BundleError
from stenoflow.base.positions import GRID
from stenoflow_acoustic.adding.draft import Draft
from stenoflow_acoustic.adding.measuring import measure_output, windowed_card
from stenoflow_acoustic.adding.vocabulary import read_tokens, tokens_card
from stenoflow_acoustic.engine import Floats
from stenoflow_acoustic.layouts import LAYOUTS, STATE_TYPES, Layout
from stenoflow_acoustic.onnx_engine import open_session, providers_for
from stenoflow_acoustic.onnx_windows import Signature, run_windows

MODEL, STATES = "model.onnx", "initial_state.safetensors"
TOKENS, VOCAB = "tokens.txt", "vocab.json"

LOOK_AHEAD = "stenoflow_look_ahead_ms"
"""Metadata of our own exports: so much later than its sound the model says what it was."""

EMISSION = "stenoflow_emission_ms"
"""Metadata of our own exports: what one emission spans, where sherpa-onnx counts another length."""

QUIET = round(math.log(float(np.finfo(np.float32).eps)), 4)
"""Every band of digital silence."""

SHERPA = {"high_hz": 7600.0, "full_scale": 1}
"""icefall's features, as sherpa-onnx makes them: Kaldi's, sound from -1 to 1, nothing of the highest 400 Hz."""

NEMO = {
    "window": "hann",
    "mel": "slaney",
    "low_hz": 0.0,
    "remove_mean": False,
    "full_scale": 1,
}
"""NeMo's features, of its streaming models too."""


def find_model(source: Path) -> Path | None:
    """The ONNX file that a source is or holds, if it is one of ours to read.

    Raises:
        BundleError: a folder holds several.
    """
    if source.is_file():
        return source if source.suffix == ".onnx" else None
    found = sorted(source.glob("*.onnx"))
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise BundleError("several_models", f"{source} holds {names}: give one of them, with its path")
    return found[0] if found else None


def draft_of(path: Path) -> Draft:
    """What an ONNX file makes, with ``tokens.txt`` or ``vocab.json`` beside it.

    Raises:
        BundleError: no CTC model that can be served, or no vocabulary.
    """
    content = path.read_bytes()
    # One scale for all rows of a batch is what dynamic quantization makes of a model.
    precision = "int8" if b"DynamicQuantizeLinear" in content else "float32"
    session = open_session(path, content, providers_for("cpu", precision))
    names = {node.name for node in session.get_inputs()}
    symbols = _symbols(path.parent)
    for layout in ("zipformer2", "nemo"):
        if LAYOUTS[layout].features in names and names & {"processed_lens", "cache_last_channel_len"}:
            return _streaming(path, content, session, layout, symbols, precision)
    return _offline(path, content, session, symbols, precision)


def _symbols(folder: Path) -> dict[int, str]:
    if (folder / TOKENS).is_file():
        return read_tokens(folder / TOKENS)
    if (folder / VOCAB).is_file():
        try:
            return {
                int(index): str(symbol) for symbol, index in json.loads((folder / VOCAB).read_text("utf-8")).items()
            }
        except (ValueError, AttributeError, TypeError):
            raise BundleError("tokens_damaged", f"{folder / VOCAB} is no map of symbols to numbers: mend it") from None
    raise BundleError("tokens_missing", f"{folder} has neither {TOKENS} nor {VOCAB}: put the model's symbols there")


def _streaming(path: Path, content: bytes, session: Any, name: str, symbols: dict[int, str], precision: str) -> Draft:
    layout, metadata = LAYOUTS[name], session.get_modelmeta().custom_metadata_map
    if (normalise := metadata.get("normalize_type", "")) not in ("", "NA"):
        raise BundleError("model_output", f"{path} normalises by {normalise}, which cannot be done while people speak")
    window, step = (_number(path, metadata, key) for key in _LENGTHS[name])
    bins, states = _bins(path, session, layout), _states(path, session, layout)
    emissions = _one_step(session, layout, states, window, bins)
    frames = emissions.shape[1]
    if frames == 0 or step % frames:
        raise BundleError(
            "model_output", f"{path} gives {frames} outputs a step of {step} frames, which they do not divide"
        )
    return Draft(
        description=f"streaming {name} CTC in ONNX, as sherpa-onnx has them, from {path.name}",
        features=_fbank(bins, SHERPA if name == "zipformer2" else NEMO),
        acoustic={
            "kind": "stateful",
            "layout": name,
            "file": MODEL,
            "precision": precision,
            "initial_state": STATES,
            "step_frames": step,
            "window_frames": window,
            "emissions_per_step": frames,
            "look_ahead_ms": int(metadata.get(LOOK_AHEAD, "0")),
        },
        tokens=tokens_card(symbols, emissions.shape[2], None),
        files={MODEL: content, STATES: save(states)},
        licence=metadata.get("license", "not stated: see where the model came from"),
    )


_LENGTHS = {"zipformer2": ("T", "decode_chunk_len"), "nemo": ("window_size", "chunk_shift")}
"""Metadata: feature frames that a step hears, and by which it steps."""


def _number(path: Path, metadata: dict[str, str], key: str) -> int:
    value = metadata.get(key, "")
    if not value.isdigit() or not int(value):
        raise BundleError("model_metadata", f"{path} has no number {key!r} in its metadata: export it for sherpa-onnx")
    return int(value)


def _bins(path: Path, session: Any, layout: Layout) -> int:
    shape = next(node.shape for node in session.get_inputs() if node.name == layout.features)
    bins = shape[1 if layout.frames_last else 2]
    if not isinstance(bins, int):
        raise BundleError("model_metadata", f"{path} does not say how many bins its features have: {shape}")
    return bins


def _states(path: Path, session: Any, layout: Layout) -> dict[str, np.ndarray]:
    """Zeros of each state's shape, without the batch: so both kinds of models begin."""
    states: dict[str, np.ndarray] = {}
    for node in session.get_inputs():
        if node.name in (layout.features, layout.length):
            continue
        axis = layout.batch_axis(node.name)
        shape = [size for at, size in enumerate(node.shape) if at != axis]
        if not all(isinstance(size, int) for size in shape) or node.type not in STATE_TYPES:
            raise BundleError("model_metadata", f"{path}: the state {node.name} is {node.type} {node.shape}, not fixed")
        states[node.name] = np.zeros(shape, STATE_TYPES[node.type])
    return states


def _one_step(session: Any, layout: Layout, states: dict[str, np.ndarray], window: int, bins: int) -> Floats:
    shape = (1, bins, window) if layout.frames_last else (1, window, bins)
    feeds: dict[str, Any] = {layout.features: np.full(shape, QUIET, np.float32)}
    if layout.length is not None:
        feeds[layout.length] = np.array([window], np.int64)
    for name, state in states.items():
        feeds[layout.state_in(name)] = np.expand_dims(state, layout.batch_axis(name))
    outputs = {node.name for node in session.get_outputs()}
    wanted = {layout.log_probs, *map(layout.state_out, states)}
    if not wanted <= outputs:
        raise BundleError("bundle_layout", f"the model gives {sorted(outputs)} instead of {sorted(wanted)}")
    found: Floats = session.run([layout.log_probs], feeds)[0]
    return found


def _offline(path: Path, content: bytes, session: Any, symbols: dict[int, str], precision: str) -> Draft:
    signature = Signature.of(session)
    metadata = session.get_modelmeta().custom_metadata_map
    features: dict[str, Any]
    if signature.shape == "samples":
        features, bins, normalise = {"kind": "waveform", "sample_rate": 16_000, "hop_ms": 10}, GRID, _of_sound(path)
    else:
        last = signature.shape == "frames last"
        shape = next(node.shape for node in session.get_inputs() if node.name == signature.sound)
        bins = shape[1 if last else 2]
        if not isinstance(bins, int):
            raise BundleError("model_metadata", f"{path} does not say how many bins its features have: {shape}")
        # NeMo's models have their frames last; icefall's and WeNet's do not.
        features = _fbank(bins, NEMO if last else SHERPA)
        normalise = "bins" if metadata.get("normalize_type") == "per_feature" else "none"
    output = measure_output(lambda windows: run_windows(session, signature, windows, normalise), bins)
    acoustic = windowed_card(output, runtime="onnx", file=MODEL, precision=precision, normalise=normalise)
    return Draft(
        description=f"offline CTC in ONNX, from {path.name}",
        features=features,
        acoustic=acoustic,
        tokens=tokens_card(symbols, output.symbols, None),
        files={MODEL: content},
    )


def _of_sound(path: Path) -> str:
    """Whether sound is normalised, as the preprocessor beside the model says; wav2vec2's own default is that it is."""
    preprocessor = path.parent / "preprocessor_config.json"
    if not preprocessor.is_file():
        return "sound"
    try:
        return "sound" if json.loads(preprocessor.read_text("utf-8")).get("do_normalize", True) else "none"
    except (ValueError, AttributeError):
        raise BundleError("model_metadata", f"{preprocessor} is damaged: mend or remove it") from None


def _fbank(bins: int, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "fbank",
        "sample_rate": 16_000,
        "bins": bins,
        "frame_ms": 25,
        "hop_ms": 10,
        "flush_frame": [QUIET] * bins,
        **options,
    }
