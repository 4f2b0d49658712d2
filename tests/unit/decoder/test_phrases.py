"""Phrases: what they earn by hand and by brute force, where they begin and end, and that half of one earns nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decoder.small import (
    EXACT,
    Frames,
    by_brute_force,
    letters,
    load,
    noise,
    phrases_score,
    searched,
    speech,
    with_words,
    without_words,
    words_score,
)

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow_decoder.lexicon import Lexicon
from stenoflow_decoder.model import DecodingModel, SearchOptions
from stenoflow_decoder.phrases import LONGEST, Phrases, plain_phrase

ENGLISH = Vocabulary((" ", *"abcdefghijklmnopqrstuvwxyz'", "<blank>"), 28, 0)
CITIES = {"new york": 1.0, "new york city": 1.0, "york": 2.0, "yorkville": 1.0}


def english(*words: str, **options: float) -> DecodingModel:
    weights = {"lm_weight": 0.0, "unknown_score": -10.0, "phrase_score": 0.5, **EXACT, **options}
    return DecodingModel(ENGLISH, Lexicon.of(words, letters(ENGLISH)), options=SearchOptions(**weights))


def walk(phrases: Phrases, model: DecodingModel, text: str) -> tuple[float, float]:
    """What a text that may go on has earned, and what it hopes for."""
    state, total = 0, 0.0
    for symbol in text:
        if symbol == " ":
            total += float(phrases.earned[state])
        state = int(phrases.following[state, model.spelling.number[symbol]])
    return total, float(phrases.hoped[state])


def earned(weights: Mapping[str, float], model: DecodingModel, text: str) -> float:
    """What a whole text earns."""
    return walk(Phrases.of(weights.items(), model), model, text + " ")[0]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        # half a nat a letter; a word that the lexicon lacks is charged 10, which the phrase gives back
        ("new york", 3.5 + 10),
        ("in new york", 3.5 + 10),
        ("new york city", 5.5 + 10),
        ("york", 4.0 + 10),  # weight 2
        ("york new york", 4.0 + 10 + 3.5 + 10),
        ("new york york", 3.5 + 10 + 4.0 + 10),
        ("yorkville", 4.5 + 10),
        # begun, but not complete
        ("new", 0),
        ("new yor", 0),
        ("new yorks", 0),
        ("new yorker city", 0),
        ("renew york", 4.0 + 10),
        ("new city", 0),
        ("", 0),
    ],
)
def test_scores_by_hand(text: str, score: float) -> None:
    model = english("new", "city", "in")
    assert earned(CITIES, model, text) == pytest.approx(score)
    assert phrases_score(model, text, CITIES) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "hope"),
    [
        ("n", 0.5),
        ("new ", 1.5),
        ("new y", 2.0 + 10),  # no word of the lexicon begins with y: charged, and hoped to be given back
        ("new york", 3.5 + 10),
        ("new york ", 0.0),  # earned by now
        ("new york c", 0.5),
        ("new york x", 0.0),
        ("new yox", 0.0),
        ("y", 1.0 + 10),  # the greatest weight of those that begin like this
        ("yorkv", 2.5 + 10),
    ],
)
def test_hopes_by_hand(text: str, hope: float) -> None:
    model = english("new", "city", "in")
    assert walk(Phrases.of(CITIES.items(), model), model, text)[1] == pytest.approx(hope)


def test_a_word_in_two_phrases_that_overlap_earns_once() -> None:
    model = english()
    weights = {"ada lovelace": 1.0, "lovelace institute": 1.0, "institute of ada": 3.0}
    assert earned(weights, model, "ada lovelace institute") == pytest.approx(0.5 * 20 + 3 * 10)
    assert earned(weights, model, "lovelace institute of ada lovelace") == pytest.approx(
        0.5 * (17 + 3 * 5) + 4 * 10 + 0.5 * 8 + 10
    )


WORD = st.text(alphabet="ab", min_size=1, max_size=2)
PHRASE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(
    weights=st.dictionaries(PHRASE, st.sampled_from([0.5, 1.0, 3.0]), max_size=12),
    text=st.lists(WORD, max_size=12).map(" ".join),
)
def test_any_text_earns_what_counting_word_by_word_gives(weights: dict[str, float], text: str) -> None:
    model = english("a", "ba")
    assert earned(weights, model, text) == pytest.approx(phrases_score(model, text, weights))


def test_a_thousand_phrases_by_brute_force() -> None:
    random = np.random.default_rng(3)
    names = ["".join(random.choice(list("abcde"), random.integers(2, 6))) for _ in range(400)]
    weights = {" ".join(random.choice(names, random.integers(1, 4))): float(random.integers(1, 4)) for _ in range(1500)}
    weights = dict(list(weights.items())[:1000])
    assert len(weights) == 1000
    model = english(*names[:100])
    phrases = Phrases.of(weights.items(), model)
    several = list(weights)
    for _ in range(300):
        # ends of phrases that are begins of others, whole ones, and words between
        text = " ".join(
            " ".join(str(random.choice(several)).split()[: random.integers(1, 4)]) if random.random() < 0.7 else name
            for name in random.choice(names, random.integers(1, 8))
        )
        assert walk(phrases, model, text + " ")[0] == pytest.approx(phrases_score(model, text, weights))


def test_states_stay_few_whatever_the_phrases() -> None:
    random = np.random.default_rng(1)
    weights = [(" ".join(random.choice(["a", "b"], 40)), 1.0) for _ in range(50)]
    weights += [(" ".join(random.choice(["a", "b"], random.integers(1, 6))), 1.0) for _ in range(50)]
    assert len(Phrases.of(weights, english()).earned) < 10_000


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("New York", "new york"),
        ("  T-Mobile ", "t mobile"),
        ("O’Brien", "o'brien"),
        ("'Beyoncé'", "beyonce"),
        ("Boeing 737", ""),
        ("!?", ""),
        ("a b c d e f g h i j", " ".join("abcdefgh")),
    ],
)
def test_phrases_are_spelled_in_the_models_letters(written: str, plain: str) -> None:
    assert plain_phrase(written, english()) == plain and len(plain.split()) <= LONGEST


@pytest.mark.parametrize("weights", [[], [("Boeing 737", 1.0)], [("york", 0.0)]])
def test_phrases_that_say_nothing_are_none(weights: list[tuple[str, float]]) -> None:
    assert len(Phrases.of(weights, english()).earned) == 1


def rescored(
    model: DecodingModel, weights: Mapping[str, float], frames: Frames
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of all texts, expected and found."""
    sound = by_brute_force(frames, model.vocabulary)
    expected = {
        text: score + words_score(model, text) + phrases_score(model, text, weights) for text, score in sound.items()
    }
    found = searched(model, frames, phrases=Phrases.of(weights.items(), model)).readings()
    return expected, {reading.text: reading.score for reading in found}


@pytest.mark.parametrize("seed", range(4))
def test_every_text_scores_as_by_brute_force(seed: int, tmp_path: Path) -> None:
    model = with_words(load(tmp_path), width=3000, **EXACT)
    texts = [" ".join(words) for n in (1, 2, 3) for words in itertools.product(["a", "b", "c", "cc", "ab"], repeat=n)]
    random = np.random.default_rng(seed)
    weights = {str(text): float(random.integers(1, 3)) for text in random.choice(texts, 25)}
    expected, found = rescored(model, weights, noise(seed, 5))
    assert found == pytest.approx(expected, abs=1e-4)


def test_recombination_keeps_hypotheses_apart_that_hope_for_different_things() -> None:
    """Without words all contexts are one: only the place in a phrase tells "a b" from "b b" when "c" is to come."""
    model = without_words(width=3000, recombine=True, phrase_score=2.0)
    weights = {"a b c": 3.0}
    for seed in range(30):
        frames = noise(seed, 6, spread=1.0)
        frames[:, 4] -= 9.0
        phrases = Phrases.of(weights.items(), model)
        plain = searched(replace(model, options=replace(model.options, recombine=False)), frames, phrases=phrases)
        few = searched(model, frames, phrases=phrases)
        assert len(few.beam) < len(plain.beam)
        best = plain.readings()[0]
        assert few.readings()[0].text == best.text or few.readings()[0].score > best.score - 0.1


def test_a_word_that_the_lexicon_lacks_is_found_with_its_phrase_only(tmp_path: Path) -> None:
    model = with_words(load(tmp_path), unknown_score=-10.0)
    frames = speech("ab bacb cab", seed=2, doubt=2.0)
    assert "bacb" not in searched(model, frames).readings()[0].text.split()
    phrases = Phrases.of([("Bacb", 1.0)], model)
    assert searched(model, frames, phrases=phrases).readings()[0].text == "ab bacb cab"


@pytest.mark.parametrize("seed", range(4))
def test_half_a_phrase_changes_no_score(seed: int, tmp_path: Path) -> None:
    model = with_words(load(tmp_path), width=3000, **EXACT)
    weights, frames = {"ab cab ab": 3.0, "cc": 2.0}, noise(seed, 5)
    without = {reading.text: reading.score for reading in searched(model, frames).readings()}
    found = searched(model, frames, phrases=Phrases.of(weights.items(), model)).readings()
    half = {reading.text: reading.score for reading in found if "cc" not in reading.text.split()}
    assert half == pytest.approx({text: score for text, score in without.items() if text in half}, abs=1e-4)
    assert any("cc" in text and text not in half for text in without) and any(text.startswith("ab c") for text in half)


def test_no_phrases_are_a_session_without_them(tmp_path: Path) -> None:
    model = with_words(load(tmp_path))
    frames = speech("abba cab cc", seed=4)
    none = Phrases.none(model.spelling)
    assert searched(model, frames, phrases=none).readings() == searched(model, frames).readings()
