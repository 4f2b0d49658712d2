"""The search against all alignments, against a table worked by hand, and against itself in other pieces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.decoder.small import (
    BLANK,
    EXACT,
    SYMBOLS,
    VOCABULARY,
    Frames,
    by_brute_force,
    load,
    noise,
    normalised,
    searched,
    silence,
    speech,
    with_words,
    without_words,
    words_score,
)

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow_decoder.advance import SCORE_MARGIN
from stenoflow_decoder.hypothesis import TRIE
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch
from stenoflow_decoder.stable_prefix import stable_characters

PHRASES = [("ab cab", 1.0), ("cab ab abba", 2.0), ("Cc", 1.0), ("abba'c", 0.5), ("a", 0.3)]
EXPECTED = pytest.mark.parametrize("expected", [[], PHRASES], ids=["no phrases", "phrases"])
SEEDS = st.integers(0, 2**31)
TEXTS = st.lists(st.sampled_from(["a", "ab", "abba", "cab", "baba", "b'ca", "cc"]), min_size=1, max_size=6).map(
    " ".join
)


def test_three_frames_of_three_tokens_worked_by_hand() -> None:
    """wenet's table, without its pruning.

    =====  =====  =====  =====
    frame  blank    a      b
    =====  =====  =====  =====
    1      0.25   0.40   0.35
    2      0.40   0.35   0.25
    3      0.10   0.50   0.40
    =====  =====  =====  =====

    a:  a a a, a a -, a - -, - a a, - a -, - - a
        0.4*0.35*0.5 + 0.4*0.35*0.1 + 0.4*0.4*0.1 + 0.25*0.35*0.5 + 0.25*0.35*0.1 + 0.25*0.4*0.5 = 0.2025
    ba: b a a, b a -, b - a, b b a, - b a
        0.35*0.35*0.5 + 0.35*0.35*0.1 + 0.35*0.4*0.5 + 0.35*0.25*0.5 + 0.25*0.25*0.5 = 0.2185
    """
    vocabulary = Vocabulary((" ", "a", "b", "<blank>"), 3, 0)
    table = np.asarray([[0.0, 0.40, 0.35, 0.25], [0.0, 0.35, 0.25, 0.40], [0.0, 0.50, 0.40, 0.10]])
    with np.errstate(divide="ignore"):
        frames = np.log(table).astype(np.float32)
    readings = {
        reading.text: math.exp(reading.score) for reading in searched(without_words(vocabulary), frames).readings()
    }
    assert readings["a"] == pytest.approx(0.2025, abs=1e-6)
    assert readings["ba"] == pytest.approx(0.2185, abs=1e-6)
    assert max(readings, key=readings.__getitem__) == "ba"
    assert sum(readings.values()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("symbols", [(" ", "a", "<blank>"), (" ", "a", "b", "<blank>")])
def test_every_text_has_the_sum_of_all_its_alignments(symbols: tuple[str, ...], seed: int) -> None:
    vocabulary = Vocabulary(symbols, len(symbols) - 1, 0)
    frames = noise(seed, 6, len(symbols))
    expected = by_brute_force(frames, vocabulary)
    found = {reading.text: reading.score for reading in searched(without_words(vocabulary), frames).readings()}
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_words_add_what_the_language_model_says_of_each(seed: int, tmp_path: Path) -> None:
    frames = noise(seed, 5)
    model = with_words(load(tmp_path), width=3000, **EXACT)
    sound = by_brute_force(frames, VOCABULARY)
    expected = {text: score + words_score(model, text, ["cab"]) for text, score in sound.items()}
    found = {reading.text: reading.score for reading in searched(model, frames, ["cab"]).readings()}
    assert found == pytest.approx(expected, abs=1e-4)


def ranked(search: BeamSearch, model: DecodingModel) -> dict[tuple[int, ...], float]:
    """What the beam goes by, of each live prefix: sound, words, and the best that its open word may become."""
    tries = search.tree.nodes[search.beam, TRIE]
    ranks = np.log(search._paths[: len(search.beam)].sum(axis=1)) + search.tree.fused[search.beam]
    ranks += model.options.lm_weight * model.look_ahead[tries]
    return {tuple(search.tree.tokens(int(node)).tolist()): rank for node, rank in zip(search.beam, ranks, strict=True)}


@pytest.mark.parametrize("margin", [1.0, 4.0])
@pytest.mark.parametrize("unknown_score", [-2.0, 1.5])
def test_a_margin_drops_what_lies_below_it_and_nothing_else(
    margin: float, unknown_score: float, tmp_path: Path
) -> None:
    """Most extensions go before they are scored, by a bound."""
    model = with_words(
        load(tmp_path), **{"width": 3000, **EXACT, "score_margin": margin, "unknown_score": unknown_score}
    )
    dropped = 0
    for seed in range(100):
        frames = noise(seed, 6, spread=1.0 + seed % 4)
        search, all_kept = BeamSearch(model), BeamSearch(model)
        for one in (search, all_kept):
            one.push(frames[:-1])
        all_kept._parameters[SCORE_MARGIN] = 1e9
        for one in (search, all_kept):
            one.push(frames[-1:])
        everything = ranked(all_kept, model)
        floor = max(everything.values()) - margin
        assert ranked(search, model).keys() == {prefix for prefix, rank in everything.items() if rank >= floor}
        dropped += len(everything) - len(search.beam)
    assert dropped > 100


def best_prefix(search: BeamSearch) -> float:
    """The best live prefix's score, its open word not counted."""
    live = len(search.beam)
    return float(
        (np.log(search._paths[:live].sum(axis=1)) + search.tree.fused[search.beam]).max() + search._log_scale[0]
    )


def both_ways(model: DecodingModel, frames: Frames) -> tuple[BeamSearch, BeamSearch, float]:
    """The search with and without recombination, and by how much the best prefix was ever behind with it."""
    plain = BeamSearch(replace(model, options=replace(model.options, recombine=False)))
    few = BeamSearch(replace(model, options=replace(model.options, recombine=True)))
    behind = 0.0
    for at in range(len(frames)):
        plain.push(frames[at : at + 1])
        few.push(frames[at : at + 1])
        behind = max(behind, best_prefix(plain) - best_prefix(few))
    assert len(few.beam) < len(plain.beam)
    return plain, few, behind


def test_recombination_by_context_drops_no_prefix_that_could_still_have_won(tmp_path: Path) -> None:
    model = with_words(load(tmp_path), **{"lm_weight": 2.0, "word_score": 4.0, "width": 3000, **EXACT})
    for seed in range(40):
        frames = noise(seed, 7, spread=0.5 + seed % 4)
        frames[:, 3:5] -= 9.0  # words of a and b only
        assert both_ways(model, frames)[2] < 1e-9


def test_recombination_minds_what_a_last_letter_may_still_become() -> None:
    """Pure noise, where it is at its worst: without words all contexts are one, and paths decide.

    Measured over these seeds: one text of 400 differs and 56 of 2,400 best scores; without minding whether paths end
    in blank, or what shorter prefixes may bring, 10 to 20 texts and 600 scores.
    """
    model = without_words(Vocabulary((" ", "a", "b", "<blank>"), 3, 0), width=300)
    runs = [both_ways(model, noise(seed, 6, 4, spread=4.0)) for seed in range(400)]
    assert sum(plain.readings()[0].text != few.readings()[0].text for plain, few, _ in runs) <= 2
    assert sum(behind > 1e-9 for _, _, behind in runs) <= 60


@settings(deadline=None, max_examples=40)
@given(text=TEXTS, seed=SEEDS)
def test_a_narrow_beam_never_scores_a_text_above_its_alignments(text: str, seed: int) -> None:
    frames = speech(text, seed)
    wide = {reading.text: reading.score for reading in searched(without_words(width=400), frames).readings()}
    for reading in searched(without_words(width=8, score_margin=10.0), frames).readings():
        if reading.text in wide:
            assert reading.score <= wide[reading.text] + 1e-6


@EXPECTED
@settings(deadline=None, max_examples=40)
@given(text=TEXTS, seed=SEEDS)
def test_what_is_announced_stable_begins_every_later_best_and_the_final(
    expected: list[tuple[str, float]], text: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = with_words(load(tmp_path_factory.getbasetemp()), width=6)
    promised: list[str] = []
    search = searched(model, speech(text, seed)[:0], phrases=Phrases.of(expected, model))
    for frame in speech(text, seed):
        search.push(frame[None])
        best = search.best_text
        stable = best[: stable_characters(search, VOCABULARY)]
        assert all(best.startswith(earlier) for earlier in promised)
        assert not promised or stable.startswith(promised[-1])
        promised.append(stable)
    for reading in search.readings():
        assert (reading.text + " ").startswith(promised[-1] + " " if promised[-1] else "")


def test_something_is_announced_stable(tmp_path: Path) -> None:
    search = searched(with_words(load(tmp_path), width=3, score_margin=8.0), speech("cab ab abba cab", doubt=0.0))
    assert search.best_text == "cab ab abba cab"
    assert stable_characters(search, VOCABULARY) >= len("cab ab")


@settings(deadline=None, max_examples=30)
@given(text=TEXTS, seed=SEEDS)
@example(text="a cab", seed=3231581)  # two texts that are nearer than the skipped frames weigh
def test_skipping_blanks_changes_scores_by_no_more_than_they_weigh(
    text: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is skipped takes nothing but its own chance of not being blank from any text, and so from the best."""
    parts = [speech(word, seed + at, doubt=0.5) for at, word in enumerate(text.split())]
    frames = np.concatenate([frame for part in parts for frame in (part, silence(9))])
    sure = frames[:, BLANK] > math.log(0.98)
    weight = -float(frames[1:, BLANK][sure[1:] & sure[:-1]].sum())
    assert 0 < weight < len(frames) * -math.log(0.98)
    model = load(tmp_path_factory.getbasetemp())
    whole = searched(with_words(model, width=64, blank_skip=1.0), frames).readings()
    skipped = searched(with_words(model, width=64, blank_skip=math.log(0.98)), frames).readings()[0]
    assert abs(skipped.score - whole[0].score) <= weight
    score = {reading.text: reading.score for reading in whole}
    assert skipped.text in score, "a text that was never near the best"
    assert whole[0].score - score[skipped.text] <= weight, "another text only where the two are as near as that"


def test_equal_letters_stay_two_when_the_blanks_between_them_are_skipped() -> None:
    frames = np.concatenate([speech("a", doubt=0.0), silence(20), speech("a", doubt=0.0)])
    assert searched(without_words(width=8, blank_skip=math.log(0.98)), frames).readings()[0].text == "aa"


def test_memory_does_not_grow_with_the_utterance(tmp_path: Path) -> None:
    model = with_words(load(tmp_path))
    search = searched(model, silence(1))
    sizes = []
    for part in range(30):
        search.push(speech("cab ab abba cab baba a ", seed=part, doubt=2.0))
        sizes.append(len(search.tree.nodes))
    assert sizes[-1] <= 4096 and len(search.best_text) > 500


@EXPECTED
def test_a_swept_tree_goes_on_like_one_that_was_not(expected: list[tuple[str, float]], tmp_path: Path) -> None:
    frames = speech("cab ab abba cab baba", seed=5, doubt=2.5)
    model = with_words(load(tmp_path))
    phrases = Phrases.of(expected, model)
    plain, swept = searched(model, frames[:0], phrases=phrases), searched(model, frames[:0], phrases=phrases)
    for at in range(len(frames)):
        plain.push(frames[at : at + 1])
        swept.push(frames[at : at + 1])
        swept.tree.sweep(swept.beam, room=1)
    assert swept.readings() == plain.readings()


@EXPECTED
@settings(deadline=None, max_examples=20)
@given(text=TEXTS, seed=SEEDS, cuts=st.lists(st.integers(0, 80), max_size=6))
def test_in_how_many_calls_frames_come_changes_nothing(
    expected: list[tuple[str, float]],
    text: str,
    seed: int,
    cuts: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = with_words(load(tmp_path_factory.getbasetemp()), width=6, blank_skip=math.log(0.9))
    phrases = Phrases.of(expected, model)
    frames = np.concatenate([speech(text, seed, doubt=2.0), silence(6), speech(text, seed + 1, doubt=2.0)])
    one_by_one, in_pieces = searched(model, frames[:0], phrases=phrases), searched(model, frames[:0], phrases=phrases)
    for at in range(len(frames)):
        one_by_one.push(frames[at : at + 1])
    for piece in np.split(frames, sorted(min(cut, len(frames)) for cut in cuts)):
        in_pieces.push(piece)
    assert in_pieces.readings() == one_by_one.readings()
    assert in_pieces.common_tokens().tolist() == one_by_one.common_tokens().tolist()


@settings(deadline=None, max_examples=20)
@given(text=TEXTS, seed=SEEDS, weight=st.floats(0.0, 1.0))
def test_priors_are_taken_off_what_the_model_says(text: str, seed: int, weight: float) -> None:
    """As if the frames came without them; which frames are sure blanks they do not change."""
    frames = np.concatenate([speech(text, seed), silence(9), speech(text, seed)])
    priors = tuple(normalised(np.random.default_rng(seed).normal(size=(1, len(SYMBOLS))))[0].tolist())
    model = without_words(width=16, prior_weight=weight, blank_skip=math.log(0.98))
    skipping = float(np.float32(weight) * np.float32(priors[BLANK]))
    plain = without_words(width=16, blank_skip=math.log(0.98) - skipping)
    expected = searched(plain, frames - np.float32(weight) * np.asarray(priors, np.float32)).readings()
    assert searched(replace(model, log_priors=priors), frames).readings() == expected
    unmeasured = without_words(width=16, blank_skip=math.log(0.98))
    assert searched(model, frames).readings() == searched(unmeasured, frames).readings()


def test_a_frame_without_any_probability_is_passed_over() -> None:
    model = without_words(width=8)
    frames = speech("ab", doubt=0.0)
    nothing = np.full((1, len(SYMBOLS)), -np.inf, np.float32)
    assert searched(model, np.concatenate([frames, nothing])).readings() == searched(model, frames).readings()
