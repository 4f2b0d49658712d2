"""Random models in the two streaming layouts that sherpa-onnx publishes, small enough to make in a test.

They are no zipformer and no conformer inside. But every state is written at each step from the sound and from itself,
and all of them weigh on what comes out, so a state that is lost, swapped or turned changes the tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BINS = 80
SYMBOLS = ["<blk>", "▁the", "▁a", "s", "er", "▁", "ing", "x", "▁no", "q", "<unk>"]

State = tuple[str, list[Any], int, str]
"""Name, shape, the axis that the sound is written along, name of the output."""

ZIPFORMER: list[State] = [
    ("cached_key_0", [6, "N", 8], 2, "new_cached_key_0"),
    ("cached_nonlin_attn_0", [1, "N", 6, 6], 3, "new_cached_nonlin_attn_0"),
    ("cached_val1_0", [6, "N", 6], 2, "new_cached_val1_0"),
    ("cached_val2_0", [6, "N", 6], 2, "new_cached_val2_0"),
    ("cached_conv1_0", ["N", 8, 2], 1, "new_cached_conv1_0"),
    ("cached_conv2_0", ["N", 8, 2], 1, "new_cached_conv2_0"),
    ("embed_states", ["N", 128, 3, 19], 1, "new_embed_states"),
]
ZIPFORMER_METADATA = {
    "model_type": "zipformer2",
    "version": "1",
    "encoder_dims": "8",
    "query_head_dims": "4",
    "value_head_dims": "3",
    "num_heads": "2",
    "num_encoder_layers": "1",
    "cnn_module_kernels": "5",
    "left_context_len": "6",
    "T": "13",
    "decode_chunk_len": "8",
}

NEMO: list[State] = [
    ("cache_last_channel", ["N", 2, 5, 8], 3, "cache_last_channel_next"),
    ("cache_last_time", ["N", 2, 8, 3], 2, "cache_last_time_next"),
]
NEMO_METADATA = {
    "model_type": "EncDecCTCModelBPE",
    "vocab_size": str(len(SYMBOLS) - 1),
    "window_size": "25",
    "chunk_shift": "16",
    "subsampling_factor": "8",
    "normalize_type": "",
    "cache_last_channel_dim1": "2",
    "cache_last_channel_dim2": "5",
    "cache_last_channel_dim3": "8",
    "cache_last_time_dim1": "2",
    "cache_last_time_dim2": "8",
    "cache_last_time_dim3": "3",
}


def make(folder: Path, layout: str, seed: int = 0, **changes: str) -> Path:
    """``model.onnx`` and ``tokens.txt``; ``changes`` are to the metadata."""
    folder.mkdir(parents=True)
    zipformer = layout == "zipformer2"
    symbols = SYMBOLS if zipformer else [*SYMBOLS[1:], SYMBOLS[0]]
    lines = [f"{symbol} {index}" for index, symbol in enumerate(symbols)]
    (folder / "tokens.txt").write_text("\n".join(lines) + "\n")
    metadata = (ZIPFORMER_METADATA if zipformer else NEMO_METADATA) | changes
    model = _model(zipformer, np.random.default_rng(seed))
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    return folder


def _model(zipformer: bool, random: np.random.Generator) -> onnx.ModelProto:
    states, length = (ZIPFORMER, 13) if zipformer else (NEMO, 25)
    rows, size, shift = (2, 4, 8) if zipformer else (2, 8, 16)
    weights: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: Any) -> str:
        weights[name] = np.asarray(value)
        return name

    def drawn(name: str, *shape: int, scale: float) -> str:
        values = random.standard_normal(shape) * scale
        if shape[0] % BINS == 0:
            values -= values.mean(axis=0)  # the sound's shape speaks, not its level
        return constant(name, values.astype(np.float32))

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    # Sound: each output row hears its own frames, and the mean of the whole window, what lies ahead too.
    sound = "x" if zipformer else node("Transpose", ["audio_signal"], "turned", perm=[0, 2, 1])
    centred = node("Add", [sound, constant("ten", np.float32(10.0))], "centred")
    own = node(
        "Slice", [centred, constant("zero", [0]), constant("shift", [shift]), constant("one", [1])], "own_frames"
    )
    joined = node("Reshape", [own, constant("rows", [0, rows, size * BINS])], "joined")
    logits = node("MatMul", [joined, drawn("w", size * BINS, len(SYMBOLS), scale=1.0)], "logits_own")
    mean = node("ReduceMean", [centred, "one"], "mean", keepdims=0)
    ahead = node("MatMul", [mean, drawn("ahead", BINS, len(SYMBOLS), scale=0.3)], "logits_ahead")
    logits = node("Add", [logits, node("Unsqueeze", [ahead, "one"], "ahead3")], "logits_0")

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", length, BINS])]
    outputs = [helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["N", rows, len(SYMBOLS)])]
    if not zipformer:
        inputs = [
            helper.make_tensor_value_info("audio_signal", TensorProto.FLOAT, ["N", BINS, length]),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["N"]),
        ]
        outputs = [
            helper.make_tensor_value_info("logprobs", TensorProto.FLOAT, ["N", rows, len(SYMBOLS)]),
            helper.make_tensor_value_info("encoded_lengths", TensorProto.INT64, ["N"]),
        ]
        node("Div", ["length", constant("subsampling", [8])], "encoded_lengths")
    for number, (name, shape, along, after) in enumerate(states):
        batch, axes = shape.index("N"), len(shape)
        width = shape[along]
        # new = tanh(0.7 old + what the sound says, written along one axis and weighted differently along the others)
        said = node("MatMul", [mean, drawn(f"p{number}", BINS, width, scale=0.05)], f"said_{number}")
        places = [at for at in range(axes) if at not in (batch, along)]
        assert batch < along
        spread = node("Unsqueeze", [said, constant(f"axes{number}", places)], f"spread_{number}")
        varied = drawn(f"v{number}", *(1 if at == batch else each for at, each in enumerate(shape)), scale=1.0)
        written = node("Mul", [spread, varied], f"written_{number}")
        faded = node("Mul", [name, constant(f"fade{number}", np.float32(0.7))], f"faded_{number}")
        node("Tanh", [node("Add", [faded, written], f"sum_{number}")], after)
        # Everything in the state weighs, each place differently.
        scale = 3.0 / np.sqrt(np.prod([each for each in shape if each != "N"]))
        weigh = drawn(f"u{number}", *(1 if at == batch else each for at, each in enumerate(shape)), scale=float(scale))
        weighed = node("Mul", [name, weigh], f"weighed_{number}")
        others = [at for at in range(axes) if at != batch]
        summed = node("ReduceSum", [weighed, constant(f"others{number}", others)], f"summed_{number}", keepdims=0)
        column = node("Unsqueeze", [summed, constant(f"column{number}", [1, 2])], f"column_{number}")
        pull = node("Mul", [column, drawn(f"c{number}", 1, 1, len(SYMBOLS), scale=4.0)], f"pull_{number}")
        logits = node("Add", [logits, pull], f"logits_{number + 1}")
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        outputs.append(helper.make_tensor_value_info(after, TensorProto.FLOAT, shape))
    count = "processed_lens" if zipformer else "cache_last_channel_len"
    after = "new_processed_lens" if zipformer else "cache_last_channel_next_len"
    inputs.append(helper.make_tensor_value_info(count, TensorProto.INT64, ["N"]))
    outputs.append(helper.make_tensor_value_info(after, TensorProto.INT64, ["N"]))
    node("Add", [count, constant("by", [1])], after)
    wave = node("Sin", [node("Cast", [count], "count_float", to=TensorProto.FLOAT)], "wave")
    column = node("Unsqueeze", [wave, constant("column_count", [1, 2])], "count_column")
    pull = node("Mul", [column, drawn("count_pull", 1, 1, len(SYMBOLS), scale=8.0)], "count_pull_3")
    logits = node("Add", [logits, pull], "logits_all")
    node("LogSoftmax", [logits], "log_probs" if zipformer else "logprobs", axis=-1)
    initial = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "streaming", inputs, outputs, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
