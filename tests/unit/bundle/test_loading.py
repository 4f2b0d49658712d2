"""Bundles: what was changed, leads elsewhere or could run code is refused before anything of it is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.acoustic.models import card, make_bundle, write_card

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import Card
from stenoflow.bundle.loading import SUFFIXES, find_bundle, load_bundle, model_folders
from stenoflow.bundle.tensors import load_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


def refused(folder: Path, code: str, names: str) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert caught.value.code == code
    assert names in caught.value.message
    return caught.value.message


def with_file(folder: Path, name: str) -> Path:
    fields = card(folder)
    fields["files"][name] = hashlib.sha256(b"x").hexdigest()
    return write_card(folder, fields)


def test_a_whole_bundle_loads_and_its_hash_names_its_content(folder: Path, tmp_path: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.card.name == "tiny" and len(bundle.hash) == 12
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert load_bundle(copy).hash == bundle.hash
    (copy / "lexicon.txt").write_text("b b |\n")
    assert load_bundle(write_card(copy, card(copy))).hash != bundle.hash
    assert sorted(load_tensors(bundle, "initial_state.safetensors")) == ["count", "sum"]


@pytest.mark.parametrize("name", ["model.onnx", "initial_state.safetensors", "lm.binary", "lexicon.txt"])
def test_one_changed_byte_in_any_file_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert "git checkout" in refused(folder, "bundle_hash", name)


def test_a_change_after_loading_is_seen_when_the_file_is_read(folder: Path) -> None:
    bundle = load_bundle(folder)
    (folder / "lexicon.txt").write_text("evil e |\n")
    with pytest.raises(BundleError, match=r"lexicon\.txt is not the file"):
        bundle.read("lexicon.txt")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "lm.binary").unlink()
    refused(folder, "bundle_file_missing", "lm.binary")


def test_a_folder_in_a_files_place_is_missing_too(folder: Path) -> None:
    (folder / "lm.binary").unlink()
    (folder / "lm.binary").mkdir()
    refused(folder, "bundle_file_missing", "lm.binary")


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "/etc/secret.txt", "a/../../secret.txt", "..\\secret.txt", "./lexicon.txt", "a//b.txt", "\0.txt"],
)
def test_paths_that_lead_out_are_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret.txt").write_bytes(b"x")
    refused(with_file(folder, name), "bundle_path", "leads out")


def test_a_link_that_leads_out_is_refused(folder: Path) -> None:
    (folder.parent / "secret.txt").write_bytes(b"x")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    refused(with_file(folder, "link.txt"), "bundle_path", "link.txt")


@pytest.mark.parametrize(
    "name", ["model.pt", "model.pkl", "weights.bin", "x.npy", "run.py", "model", "x.onnx.pickle", ".onnx"]
)
def test_files_that_could_run_code_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")
    refused(with_file(folder, name), "bundle_file_kind", name)


def test_an_unlisted_file_cannot_be_asked_for(folder: Path) -> None:
    (folder / "other.txt").write_text("x")
    with pytest.raises(BundleError, match=r"does not list other\.txt"):
        load_bundle(folder).path("other.txt")


@pytest.mark.parametrize("found", [0, 2, "1", None, True, 1.0, [1]])
def test_another_format_is_refused_with_both_numbers(folder: Path, found: Any) -> None:
    write_card(folder, card(folder, format=found))
    assert "reads format 1" in refused(folder, "bundle_format", repr(found))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b" " * (1 << 20) + b"{}"])
def test_a_card_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "bundle.json").write_bytes(content)
    refused(folder, "bundle_card_invalid", "bundle.json")


@pytest.mark.parametrize(
    ("part", "field", "value", "names"),
    [
        ("features", "flush_frame", [0.0], "flush_frame has 1 numbers"),
        ("features", "bins", 0, "features.bins"),
        ("features", "sample_rate", 8000, "features.sample_rate"),
        ("features", "flush_frame", [float("nan")] * 6, "features.flush_frame"),
        ("features", "kind", "waveform", "only windowed ones"),
        ("acoustic", "look_ahead_ms", 50, "not a multiple"),
        ("acoustic", "emissions_per_step", 3, "do not divide"),
        ("acoustic", "file", "other.onnx", "no hash of it"),
        ("acoustic", "kind", "sideways", "acoustic"),
        ("acoustic", "kind", "windowed", "acoustic.runtime"),
        ("tokens", "blank", 5, "two of 5 symbols"),
        ("tokens", "symbols", ["a", "a", "b", "c", "d"], "twice"),
        ("decoder", "beam_width", 0, "decoder.beam_width"),
        ("decoder", "log_priors", [-1.0], "1 log_priors for 5 symbols"),
        ("decoder", "lm_weight", -0.1, "decoder.lm_weight"),
        ("decoder", "prior_weight", -0.1, "decoder.prior_weight"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(folder: Path, part: str, field: str, value: Any, names: str) -> None:
    fields = card(folder)
    fields[part][field] = value
    write_card(folder, fields)
    refused(folder, "bundle_card_invalid", names)


@pytest.mark.parametrize("field", sorted(Card.model_fields))
def test_every_field_is_needed(folder: Path, field: str) -> None:
    fields = card(folder)
    del fields[field]
    write_card(folder, fields)
    refused(folder, "bundle_format" if field == "format" else "bundle_card_invalid", "bundle.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_card_does_more_than_refuse(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    if not folder.exists():
        make_bundle(folder)
    fields = card(folder)
    part = fields[data.draw(st.sampled_from(["features", "acoustic", "tokens", "decoder", "files"]))]
    target = data.draw(st.sampled_from([fields, part]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    write_card(folder, fields)
    try:
        load_bundle(folder)
    except BundleError as error:
        assert error.code and error.message


def test_damaged_tensors_are_refused(folder: Path) -> None:
    (folder / "initial_state.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    bundle = load_bundle(write_card(folder, card(folder)))
    with pytest.raises(BundleError, match=r"initial_state\.safetensors"):
        load_tensors(bundle, "initial_state.safetensors")


def test_a_name_is_looked_for_in_the_given_folders_first(folder: Path) -> None:
    environ = {"STENOFLOW_MODELS": f"/nowhere{os.pathsep}{folder.parent}"}
    assert find_bundle("tiny", environ) == folder
    folders = model_folders(environ)
    assert folders[:2] == [Path("/nowhere"), folder.parent]
    assert folders[-2].parts[-2:] == ("shared", "models") and folders[-1].parts[-2:] == ("stenoflow", "models")


def test_a_folder_is_taken_as_it_is(folder: Path) -> None:
    assert find_bundle(str(folder), {}) == folder and find_bundle(folder, {}) == folder


@pytest.mark.parametrize("name", ["no-such-model", "..", ".", "", "/no/such/folder", "../tiny"])
def test_what_is_not_found_says_where_it_was_looked_for(folder: Path, name: str) -> None:
    with pytest.raises(BundleError, match="STENOFLOW_MODELS") as caught:
        find_bundle(name, {"STENOFLOW_MODELS": str(folder)})
    assert caught.value.code == "bundle_not_found"


def test_only_data_is_loaded() -> None:
    assert {".onnx", ".safetensors", ".txt", ".binary", ".arpa", ".json"} == SUFFIXES


def test_a_card_reads_back_from_its_json(folder: Path) -> None:
    loaded = load_bundle(folder).card
    assert Card.model_validate(json.loads(loaded.model_dump_json())) == loaded
