"""Both libraries give the same natural logarithms, for known and unknown words."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from tests.unit.decoder.small import WORDS, arpa

from stenoflow.base.errors import BundleError
from stenoflow.bundle.loading import find_bundle
from stenoflow_decoder.fusion import WordScores
from stenoflow_decoder.language_model import FlashlightLm, KenLm, NoLanguageModel, load_language_model, order_of

TEXT = ["a", "cab", "ab", "abba", "nobody", "a", "b'ca", "cab"]


def test_scores_are_natural_logarithms_with_back_off(tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    model = KenLm(arpa(tmp_path))
    state, first = model.score(model.start([]), "a")
    state, second = model.score(state, "cab")
    _, third = model.score(state, "caca")
    assert first == pytest.approx(-0.3 * math.log(10), abs=1e-6)
    assert second == pytest.approx(-0.2 * math.log(10), abs=1e-6)
    # caca was never seen after "a cab" nor "cab": both back off
    assert third == pytest.approx((-0.2 - 0.25 - 1.2) * math.log(10), abs=1e-6)


def test_the_order_is_read_from_the_file(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed")
    written = arpa(tmp_path)
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(written.read_bytes()))
    for path in (written, packed, find_bundle("en-small") / "lm.binary"):
        assert order_of(path) == kenlm.Model(str(path)).order > 1


@pytest.mark.parametrize("previous", [[], ["a"], ["a", "cab"], ["nobody", "baba"]])
def test_both_libraries_agree(previous: list[str], tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    path = arpa(tmp_path)
    ours, theirs = KenLm(path), FlashlightLm(path, ("<unk>", *WORDS))
    state, other = ours.start(previous), theirs.start(previous)
    for word in TEXT:
        state, score = ours.score(state, word)
        other, other_score = theirs.score(other, word)
        assert score == pytest.approx(other_score, abs=1e-5)
    assert ours.score(ours.anywhere(), "ab")[1] == pytest.approx(theirs.score(theirs.anywhere(), "ab")[1], abs=1e-5)


def test_the_table_answers_as_the_model_however_often_it_is_asked(tmp_path: Path) -> None:
    model = FlashlightLm(arpa(tmp_path), WORDS)
    words = ("<unk>", *WORDS)
    scores = WordScores(model, words, ["cab"])
    frontier = {WordScores.start: model.start(["cab"])}
    for _ in range(5):
        following = {}
        for context, state in frontier.items():
            for number, word in enumerate(words):
                expected = model.score(state, word)[1]
                for _ in range(2):
                    assert scores.score(context, number) == pytest.approx(expected, abs=1e-6)
            for number, word in enumerate(words[:4]):
                at = [i for i, key in enumerate(scores.keys) if key == (context << 32 | number)]
                following[int(scores.following[at[0]])] = model.score(state, word)[0]
        frontier = dict(list(following.items())[:12])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lm.binary"
    with pytest.raises(BundleError, match=r"lm\.binary does not exist"):
        load_language_model(path, WORDS)
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0 but nothing more")
    with pytest.raises(BundleError, match="cannot be read"):
        load_language_model(path, WORDS)


def test_without_a_language_model_words_weigh_nothing() -> None:
    model = NoLanguageModel()
    assert WordScores(model, ("<unk>", "a"), ["b"]).score(0, 1) == 0.0
