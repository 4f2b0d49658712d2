"""sherpa-onnx's recogniser behind its protocol, and the caller: where words are, and that a call comes through."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from load_tests.generator import Call
from load_tests.sherpa import FRAME_S, Answer, as_message, sherpa_call, sherpa_stack, why_not, words_of
from load_tests.sherpa_server import Clock
from onnx import TensorProto, helper, numpy_helper

from stenoflow.protocol.messages import Final, Partial

LETTERS = "abcdefgh"


def answer(tokens: list[str], *, final: bool = False) -> Answer:
    return Answer("", tokens, [0.1 * number for number in range(len(tokens))], 3, 2.0, final)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["▁he", "llo", "▁you"], [("hello", 2.0, 2.1), ("you", 2.2, 2.2)]),
        ([" he", "llo", " you"], [("hello", 2.0, 2.1), ("you", 2.2, 2.2)]),
        (["h", "i", " ", "y", "o"], [("hi", 2.0, 2.1), ("yo", 2.3, 2.4)]),  # the space is no part of a word
        ([" "], []),
    ],
)
def test_words_lie_where_their_tokens_do(tokens: list[str], words: list[tuple[str, float, float]]) -> None:
    found = [(word.word, word.begin / 16_000, word.end / 16_000) for word in words_of(answer(tokens))]
    assert found == [(word, pytest.approx(begin), pytest.approx(last + FRAME_S)) for word, begin, last in words]


def test_answers_are_partials_until_they_are_final() -> None:
    partial, final = as_message(1, answer(["▁a"])), as_message(1, answer(["▁a"], final=True))
    assert isinstance(partial, Partial)
    assert isinstance(final, Final)
    assert (final.track, final.utterance, final.text) == (1, 3, "a")


def test_our_exports_say_what_a_second_of_sherpa_is() -> None:
    ours = Clock.of({"stenoflow_emission_ms": "20", "stenoflow_look_ahead_ms": "400", "model_type": "zipformer2"})
    assert ours.in_the_sound([0.8, 2.0]) == pytest.approx([0.0, 0.6])
    assert Clock.of({"model_type": "zipformer2"}).in_the_sound([0.8, 2.0]) == [0.8, 2.0]


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").touch()
    reason = why_not(tmp_path)
    assert "model.onnx" in reason or "not installed" in reason


def a_model(folder: Path) -> None:
    """A random model of NeMo's streaming layout: every 80 ms a token by a matrix over one feature frame."""
    batch, bins, kinds = "N", 80, len(LETTERS) + 2
    weights = np.random.default_rng(0).standard_normal((bins, kinds)).astype(np.float32)
    weights -= weights.mean(axis=0)  # else the level alone would choose, and always the same token
    nodes = [
        helper.make_node("Transpose", ["audio_signal"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["frames", "from", "to", "axis", "stride"], ["every"]),
        helper.make_node("MatMul", ["every", "weights"], ["scores"]),
        helper.make_node("LogSoftmax", ["scores"], ["logprobs"], axis=-1),
        helper.make_node("Identity", ["length"], ["encoded_lengths"]),
        *(
            helper.make_node("Identity", [name], [f"{name}_out"])
            for name in ("cache_last_channel", "cache_last_time", "cache_last_channel_len")
        ),
    ]
    caches = [(name, TensorProto.FLOAT, [batch, 1, 1, 1]) for name in ("cache_last_channel", "cache_last_time")]
    caches.append(("cache_last_channel_len", TensorProto.INT64, [batch]))
    given = [("audio_signal", TensorProto.FLOAT, [batch, bins, "T"]), ("length", TensorProto.INT64, [batch]), *caches]
    made = [("logprobs", TensorProto.FLOAT, [batch, "U", kinds]), ("encoded_lengths", TensorProto.INT64, [batch])]
    made += [(f"{name}_out", kind, shape) for name, kind, shape in caches]
    constants = {"from": [0], "to": [2**31], "axis": [1], "stride": [8]}
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info(*each) for each in given],
        [helper.make_tensor_value_info(*each) for each in made],
        [
            numpy_helper.from_array(weights, "weights"),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    numbers = {"window_size": 16, "chunk_shift": 16, "subsampling_factor": 8, "vocab_size": kinds - 1}
    numbers |= {f"cache_last_{what}_dim{axis}": 1 for what in ("channel", "time") for axis in (1, 2, 3)}
    for key, value in {**numbers, "normalize_type": "", "model_type": "EncDecCTCModelBPE"}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.save(model, folder / "model.onnx")
    tokens = [*(f"▁{letter}" for letter in LETTERS), "s", "<blk>"]
    (folder / "tokens.txt").write_text("".join(f"{token} {number}\n" for number, token in enumerate(tokens)))


@pytest.mark.skipif(
    find_spec("sherpa_onnx") is None, reason="sherpa-onnx is missing: pip install 'sherpa-onnx>=2.0,<3'"
)
async def test_a_whole_call_comes_through(tmp_path: Path) -> None:
    a_model(tmp_path)
    assert why_not(tmp_path) == ""
    asked = Call(0, 0, "telephone", 16_000, True, "", 0.0, 8.0, peer="sherpa")
    async with sherpa_stack(tmp_path, "nemo") as url:
        heard = await sherpa_call(url, asked.voices(), 0.0)
    heard.find_words()
    assert heard.refused == ""
    for track in (0, 1):
        numbers = [final.utterance for final, _ in heard.finals if final.track == track]
        assert numbers == sorted(set(numbers))
        assert len(heard.said(track).split()) > 3
    assert len(heard.word) == sum(len(final.words) for final, _ in heard.finals)
