"""``stenoflow bundle``: what is there is told, what is broken is found, and what ships cannot be deleted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from stenoflow.base.errors import BundleError, StenoflowError
from stenoflow.bundle.loading import load_bundle
from stenoflow_acoustic.adding.add import add_bundle
from stenoflow_acoustic.onnx_windows import OnnxWindows
from stenoflow_acoustic.windows import WindowGeometry
from stenoflow_cli.__main__ import app
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.search import BeamSearch
from tests.unit.acoustic import streaming_layouts
from tests.unit.acoustic.models import make_bundle

LETTERS = ["<pad>", "|", "A", "B"]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    make_bundle(folder / "tiny")
    monkeypatch.setenv("STENOFLOW_MODELS", str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "250")
    return folder


def run(*arguments: str | Path, said: str = "") -> Result:
    return CliRunner().invoke(app, ["bundle", *map(str, arguments)], input=said)


def code(result: Result) -> str:
    assert isinstance(result.exception, StenoflowError), result.output
    return result.exception.code


def test_list_names_all_and_says_what_is_broken(models: Path) -> None:
    (make_bundle(models / "broken") / "bundle.json").write_text("{")
    found = run("list")
    assert found.exit_code == 0
    lines = {line.split()[0]: line for line in found.output.splitlines() if line.strip()}
    assert "streaming, steps of 40 ms, float32" in lines["tiny"] and str(models / "tiny") in lines["tiny"]
    assert "bundle_card_invalid" in lines["broken"] and "int8" in lines["en-small"]


def test_show_says_what_the_card_says(models: Path) -> None:
    found = run("show", "tiny")
    assert found.exit_code == 0 and "whole numbers" in found.output and "sha256" in found.output
    assert code(run("show", "klingon")) == "bundle_not_found"


def test_verify_finds_the_changed_one(models: Path) -> None:
    assert run("verify", "tiny").exit_code == 0
    (models / "tiny" / "lexicon.txt").write_text("changed")
    found = run("verify", "tiny", "en-small")
    assert found.exit_code == 2 and "en-small@" in found.output and "bundle_hash" in found.output


def test_remove_asks_and_deletes_only_what_was_added(models: Path) -> None:
    assert run("remove", "tiny", said="n\n").exit_code == 1 and (models / "tiny").is_dir()
    assert run("remove", "tiny", said="y\n").exit_code == 0 and not (models / "tiny").exists()
    assert code(run("remove", "en-small", "--yes")) == "bundle_ships"


def test_add_puts_a_bundle_where_it_is_found_by_name(models: Path, tmp_path: Path) -> None:
    source = streaming_layouts.make(tmp_path / "published", "zipformer2")
    added = run("add", source, "--name", "zip", "--language", "fr")
    assert added.exit_code == 0 and "stenoflow up --bundle zip" in added.output
    card = load_bundle(models / "zip").card
    assert (card.name, card.language) == ("zip", "fr")
    assert code(run("add", source, "--name", "zip")) == "bundle_exists"
    assert [each.name for each in models.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("nowhere/at/all", None, "source_missing"),
        ("published", "Not A Name", "bundle_name"),
        ("empty", None, "source_unknown"),
    ],
)
def test_what_cannot_be_added_is_told(
    models: Path, tmp_path: Path, source: str, name: str | None, expected: str
) -> None:
    streaming_layouts.make(tmp_path / "published", "nemo")
    (tmp_path / "empty").mkdir()
    assert code(run("add", tmp_path / source, *(("--name", name) if name else ()))) == expected
    assert [each.name for each in models.iterdir()] == ["tiny"]


def offline(folder: Path, frames_last: bool) -> Path:
    """An offline model in ONNX: samples, or features with their frames last and their number beside them.

    Of samples each 20 ms give an output, of features each 40 ms; both hear nothing beyond.
    """
    folder.mkdir(parents=True)
    width = 80 * 4 if frames_last else 320
    weights = np.random.default_rng(0).standard_normal((width, len(LETTERS))).astype(np.float32)
    shape: list[str | int] = ["B", 80, "T"] if frames_last else ["B", "N"]
    inputs = [helper.make_tensor_value_info("audio_signal", TensorProto.FLOAT, shape)]
    sound = "audio_signal"
    nodes = []
    if frames_last:
        inputs.append(helper.make_tensor_value_info("length", TensorProto.INT64, ["B"]))
        nodes = [
            helper.make_node("Transpose", ["audio_signal"], ["turned"], perm=[0, 2, 1]),
            helper.make_node("Flatten", ["turned"], ["flat"]),
        ]
        sound = "flat"
    nodes += [
        helper.make_node("Shape", [sound], ["size"], start=1),
        helper.make_node("Div", ["size", "width"], ["rows"]),
        helper.make_node("Mul", ["rows", "width"], ["whole"]),
        helper.make_node("Slice", [sound, "zero", "whole", "one"], ["cut"]),
        helper.make_node("Reshape", ["cut", "shape"], ["joined"]),
        helper.make_node("MatMul", ["joined", "weights"], ["logits"]),
    ]
    constants = {
        "width": np.array([width]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "shape": np.array([0, -1, width]),
        "weights": weights,
    }
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "U", len(LETTERS)])]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "offline", inputs, outputs, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "m.onnx")
    (folder / "vocab.json").write_text(json.dumps({letter: at for at, letter in enumerate(LETTERS)}))
    return folder


@pytest.mark.parametrize(("frames_last", "emission_ms"), [(False, 20), (True, 40)])
def test_an_offline_onnx_model_runs_in_windows(tmp_path: Path, frames_last: bool, emission_ms: int) -> None:
    bundle = add_bundle(str(offline(tmp_path / "offline", frames_last)), tmp_path / "models")
    acoustic, features = bundle.card.acoustic, bundle.card.features
    assert acoustic.kind == "windowed" and (acoustic.runtime, acoustic.emission_ms) == ("onnx", emission_ms)
    assert features.kind == ("fbank" if frames_last else "waveform")
    assert bundle.card.tokens.symbols == ("<pad>", "|", "a", "b") and bundle.card.tokens.separator == 1
    model, geometry = OnnxWindows(bundle, "cpu"), WindowGeometry.of(bundle.card, "fast")
    heard = np.random.default_rng(1).standard_normal((3, geometry.whole, geometry.bins)).astype(np.float32)
    said = model.emissions(heard)
    assert said.shape == (3, geometry.whole * 10 // emission_ms, len(LETTERS))
    np.testing.assert_allclose(np.exp(said).sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(model.emissions(heard[1:2])[0], said[1], atol=1e-4)


def test_a_lexicon_and_a_language_model_go_in_together(tmp_path: Path) -> None:
    source = offline(tmp_path / "offline", False)
    (tmp_path / "words.txt").write_text("ab\nba\n")
    (tmp_path / "lm.arpa").write_text("\\data\\\n")
    with pytest.raises(BundleError, match="--lexicon"):
        add_bundle(str(source), tmp_path / "models", language_model=tmp_path / "lm.arpa")
    bundle = add_bundle(str(source), tmp_path / "models", "both", "en", tmp_path / "words.txt", tmp_path / "lm.arpa")
    decoder = bundle.card.decoder
    assert (decoder.lexicon, decoder.language_model) == ("lexicon.txt", "lm.arpa") and decoder.lm_weight > 0


ARPA = """\\data\\
ngram 1=6
ngram 2=1

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t0
-1.0\t</s>\t0
-1.0\tno\t0
-1.5\tnos\t0
-1.5\tzebra\t0

\\2-grams:
-0.1\tno no

\\end\\
"""


def test_a_language_model_changes_what_word_pieces_say(models: Path, tmp_path: Path) -> None:
    source = streaming_layouts.make(tmp_path / "published", "zipformer2")
    (tmp_path / "words.lm").write_text(ARPA)
    assert run("add", source, "--name", "plain").exit_code == 0
    assert run("add", source, "--name", "with-words", "--lm", tmp_path / "words.lm").exit_code == 0
    plain, words = (
        DecodingModel.from_bundle(load_bundle(models / name), lm_weight=1.0, word_score=0.0)
        for name in ("plain", "with-words")
    )
    assert words.lexicon.words == ("<unk>", "no", "nos"), "zebra cannot be emitted"
    symbols = words.vocabulary.symbols
    frames = np.full((3, len(symbols)), -20.0, np.float32)
    for frame, said in zip(frames, ({"▁no": 0.9}, {"▁no": 0.4, "s": 0.6}, {"<blk>": 0.9}), strict=True):
        for symbol, probability in said.items():
            frame[symbols.index(symbol)] = np.log(probability)
    texts = []
    for model in (plain, words):
        search = BeamSearch(model)
        search.push(frames[[0, 2, 1, 2]])
        texts.append(search.readings()[0].text)
    assert texts == ["nos", "no no"]


@pytest.mark.parametrize(
    ("lexicon", "lm", "expected"), [("no zebra", None, "lexicon_symbols"), (None, "x", "lexicon_missing")]
)
def test_words_that_do_not_fit_are_refused(
    models: Path, tmp_path: Path, lexicon: str | None, lm: str | None, expected: str
) -> None:
    source = streaming_layouts.make(tmp_path / "published", "nemo")
    options: list[str | Path] = []
    for option, content in (("--lexicon", lexicon), ("--lm", lm)):
        if content is not None:
            (tmp_path / option).write_text(content)
            options += [option, tmp_path / option]
    assert code(run("add", source, *options)) == expected
    assert [each.name for each in models.iterdir()] == ["tiny"]
