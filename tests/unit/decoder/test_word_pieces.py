"""Vocabularies of word pieces: words, phrases and spots as with characters, however a model cuts words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.unit.decoder.small import (
    ARPA,
    EXACT,
    SYMBOLS,
    VOCABULARY,
    WORDS,
    Frames,
    load,
    noise,
    normalised,
    phrases_score,
    searched,
    with_words,
    without_words,
    words_score,
)

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.runtime.spotted import Occurrence
from stenoflow_decoder.endpoint import PIECE_PAUSE, Rules, silence_left
from stenoflow_decoder.lexicon import Lexicon
from stenoflow_decoder.model import DecodingModel, SearchOptions
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch
from stenoflow_decoder.session_settings import SettingsReader
from stenoflow_decoder.spelling import Spelling
from stenoflow_decoder.spotting import SpotPhrases, Spotter
from stenoflow_decoder.stable_prefix import stable_characters
from stenoflow_decoder.utterance import OpenUtterance

HOP = 640
EXAMPLE = Vocabulary.of(("<blk>", "▁", "▁a", "b", "▁ab", "ca", "<unk>"), 0, None, [6])
PHRASES = {"ab": 1.0, "a ca": 2.0, "caca": 1.0, "ba ab": 0.5}

PIECES = st.lists(
    st.tuples(st.booleans(), st.text("abc'", max_size=3)).filter(any).map(lambda each: "▁" * each[0] + each[1]),
    min_size=3,
    max_size=4,
    unique=True,
).filter(lambda pieces: any(piece.strip("▁") for piece in pieces))
SEEDS = st.integers(0, 2**31)


def of_pieces(pieces: list[str], hidden: bool = False) -> Vocabulary:
    return Vocabulary.of((*pieces, *(["<unk>"] * hidden), "<blk>"), len(pieces) + hidden, None, [len(pieces)] * hidden)


def model_of(vocabulary: Vocabulary, language_model: object = None, width: int = 16, **options: float) -> DecodingModel:
    """The words of ``small`` whose letters the vocabulary has, or no words."""
    spelling = Spelling.of(vocabulary)
    if language_model is None:
        weights = {"beam_width": width, "lm_weight": 0.0, "unknown_score": 0.0, **options}
        return DecodingModel(vocabulary, Lexicon.of((), spelling), options=SearchOptions(**weights))
    words = [word for word in WORDS if set(word) <= set(spelling.letters)]
    own = {"lm_weight": 0.6, "word_score": 0.3, "unknown_score": -2.0, "phrase_score": 1.0}
    weights = {"beam_width": width, **own, **options}
    return DecodingModel(vocabulary, Lexicon.of(words, spelling), language_model, SearchOptions(**weights))  # type: ignore[arg-type]


def sums(frames: Frames, vocabulary: Vocabulary) -> dict[str, float]:
    """The natural-log probability of every text, over all paths and all spellings."""
    found: dict[str, float] = {}
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        said = [token for token, _ in itertools.groupby(path) if token != vocabulary.blank]
        text = vocabulary.text(np.asarray(said, np.int32))
        score = float(sum(frames[at, token] for at, token in enumerate(path)))
        found[text] = float(np.logaddexp(found.get(text, -np.inf), score))
    return found


@settings(deadline=None, max_examples=40)
@given(pieces=PIECES, hidden=st.booleans(), seed=SEEDS)
@example(pieces=["a", "▁", "▁c"], hidden=False, seed=0)  # an edge twice, in the middle of a phrase
def test_every_text_scores_as_all_its_spellings_together(
    pieces: list[str], hidden: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    vocabulary = of_pieces(pieces, hidden)
    frames = noise(seed, 4, len(vocabulary.symbols))
    model = model_of(vocabulary, load(tmp_path_factory.getbasetemp()), width=3000, **EXACT)
    weights = {text: weight for text, weight in PHRASES.items() if set(text) <= set(model.spelling.letters)}
    expected = {
        text: score + words_score(model, text, ["cab"]) + phrases_score(model, text, weights)
        for text, score in sums(frames, vocabulary).items()
    }
    found = searched(model, frames, ["cab"], Phrases.of(weights.items(), model)).readings()
    assert {reading.text: reading.score for reading in found} == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS)
def test_characters_are_pieces_of_one_letter(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same emissions, the separator once a token of its own and once the piece that is nothing but an edge."""
    language_model = load(tmp_path_factory.getbasetemp())
    letters = with_words(language_model, width=3000, **EXACT)
    pieces = model_of(Vocabulary.of(("▁", *SYMBOLS[1:]), VOCABULARY.blank, None), language_model, width=3000, **EXACT)
    frames = noise(seed, 5)
    expected, found = (
        searched(model, frames, phrases=Phrases.of(PHRASES.items(), model)).readings() for model in (letters, pieces)
    )
    assert {each.text: each.score for each in found} == pytest.approx(
        {each.text: each.score for each in expected}, abs=1e-6
    )


def table(vocabulary: Vocabulary, *rows: dict[str, float]) -> Frames:
    """Frames of the probabilities that are given; the others share what is left."""
    probabilities = np.zeros((len(rows), len(vocabulary.symbols)))
    for row, given_ in zip(probabilities, rows, strict=True):
        row[:] = (1.0 - sum(given_.values())) / (len(row) - len(given_))
        for symbol, probability in given_.items():
            row[vocabulary.symbols.index(symbol)] = probability
    return np.log(probabilities).astype(np.float32)


CITY = Vocabulary.of(("▁see", "▁new", "▁knew", "▁n", "ew", "▁york", "▁yolk", "<blk>"), 7, None)
SAID = (
    {"▁see": 0.97},
    {"▁new": 0.30, "▁knew": 0.45, "▁n": 0.20},
    {"<blk>": 0.76, "ew": 0.20},
    {"▁york": 0.30, "▁yolk": 0.60},
)
"""``new`` is said in two ways, as ``▁new`` (0.30 · 0.76) and as ``▁n ew`` (0.20 · 0.20): 0.268. ``knew`` is 0.342."""
NGRAM = """\\data\\
ngram 1=7
ngram 2=1

\\1-grams:
-1.0\t<unk>\t0
-99\t<s>\t0
-1.0\t</s>\t0
-1.0\tsee\t0
-1.0\tnew\t0
-1.0\tknew\t0
-1.0\tyolk\t0

\\2-grams:
-0.4\tsee new

\\end\\
"""


def city(folder: Path, lm_weight: float = 0.0) -> DecodingModel:
    (folder / "city.arpa").write_text(NGRAM)
    from stenoflow_decoder.language_model import KenLm

    lexicon = Lexicon.of(["see", "new", "knew", "yolk"], Spelling.of(CITY))
    weights = SearchOptions(lm_weight=lm_weight, word_score=0.0, unknown_score=-1.0, phrase_score=0.5, beam_width=64)
    return DecodingModel(CITY, lexicon, KenLm(folder / "city.arpa"), weights)


def heard(model: DecodingModel, phrases: dict[str, float]) -> dict[str, float]:
    """Scores of the texts, the best first."""
    readings = searched(model, table(CITY, *SAID), phrases=Phrases.of(phrases.items(), model)).readings()
    return {reading.text: reading.score for reading in readings}


def test_words_and_phrases_each_change_what_is_heard_by_hand(tmp_path: Path) -> None:
    """See ``SAID``. The n-gram gives ``see new`` 0.6 in log10, which is more than ln(0.342 / 0.268) = 0.24; ``york`` is
    no word of the lexicon, loses 1 and ln 2 to ``yolk``, and gets the 1 back and 4 · 0.5 as a phrase."""
    knew = math.log(0.342 / 0.268)
    texts = heard(city(tmp_path), {})
    assert next(iter(texts)) == "see knew yolk"
    assert texts["see knew yolk"] - texts["see new yolk"] == pytest.approx(knew, abs=0.01)
    texts = heard(city(tmp_path, lm_weight=1.0), {})
    assert next(iter(texts)) == "see new yolk"
    assert texts["see new yolk"] - texts["see knew yolk"] == pytest.approx(0.6 * math.log(10) - knew, abs=0.01)
    texts = heard(city(tmp_path), {"York": 1.0})
    assert next(iter(texts)) == "see knew york"
    assert texts["see knew york"] - texts["see knew yolk"] == pytest.approx(4 * 0.5 - math.log(2), abs=0.01)
    assert next(iter(heard(city(tmp_path), {"new york": 1.0}))) == "see new york"


def spot(frames: Frames, vocabulary: Vocabulary, *phrases: str, threshold: float = 0.3) -> list[tuple[str, int, int]]:
    spotter = Spotter(SpotPhrases.of([(phrase, threshold) for phrase in phrases], model_of(vocabulary)))
    heard = [each for at, frame in enumerate(frames) for each in spotter.hear(frame, at * HOP, HOP)]
    return [(each.phrase, each.begin // HOP, each.end // HOP) for each in heard + spotter.finish()]


def peaks(vocabulary: Vocabulary, *symbols: str) -> Frames:
    return table(vocabulary, *({symbol: 0.97} for symbol in symbols))


def test_a_phrase_is_spotted_in_whatever_pieces_it_comes() -> None:
    for said in (("▁n", "ew", "▁york"), ("<blk>", "▁new", "▁york"), ("▁n", "ew", "▁york")):
        found = spot(peaks(CITY, "▁see", "<blk>", *said, "<blk>", "▁see"), CITY, "New York", "yolk")
        begin = 3 if said[0] == "<blk>" else 2
        assert found == [("New York", begin, 5)]
    # What the captions make of it (see above) does not matter.
    assert spot(table(CITY, *SAID), CITY, "york") == [("york", 3, 4)]


def test_a_piece_that_is_held_is_said_once_and_one_that_comes_again_twice() -> None:
    frames = peaks(CITY, "▁york", "▁york", "▁york", "<blk>", "▁york", "▁york", "▁see", "▁york")
    assert spot(frames, CITY, "york") == [("york", 0, 3), ("york", 4, 6), ("york", 7, 8)]
    # It may be over while it is still heard; what is left of it is no other one.
    frames = table(CITY, {"▁york": 0.97}, {"▁york": 0.6, "▁see": 0.37}, {"▁see": 0.97})
    assert spot(frames, CITY, "york") == [("york", 0, 1)]


@pytest.mark.parametrize("said", [("▁new", "ew", "▁york"), ("▁see", "ew", "ew"), ("▁new", "▁yolk"), ("▁new",)])
def test_what_is_not_said_as_whole_words_is_not_spotted(said: tuple[str, ...]) -> None:
    assert spot(peaks(CITY, "▁see", *said, "▁see"), CITY, "new york", "ew", "see ew", "see new see new") == []


@settings(deadline=None, max_examples=20)
@given(pieces=PIECES, seed=SEEDS, phrase=st.sampled_from(["a", "ab", "a b", "b'ca", "aa"]))
def test_a_spotting_score_is_that_of_the_best_path_over_all_spellings(
    pieces: list[str], seed: int, phrase: str
) -> None:
    """The whole stretch is found, and nothing beyond the best of all stretches in it."""
    vocabulary = of_pieces(pieces)
    tokens = range(len(pieces) + 1)
    frames, texts = noise(seed, 4, len(tokens)), [Spelling.of(vocabulary).text(token) for token in tokens]
    assume(set(phrase) <= {" ", *"".join(texts)})
    spots = SpotPhrases.of([(phrase, 0.5)], model_of(vocabulary))
    fewest = next(
        (
            length
            for length in range(1, 6)
            for several in itertools.product(tokens[:-1], repeat=length)
            if "".join(texts[token] for token in several) in (phrase, " " + phrase)
        ),
        None,
    )
    assert spots.lengths.tolist() == [fewest] * (fewest is not None)
    whole = most = math.inf
    for length, begin in ((4, 0), (3, 0), (3, 1), (2, 0), (2, 1), (2, 2), (1, 0), (1, 1), (1, 2), (1, 3)):
        for path in itertools.product(tokens, repeat=length):
            said = "".join(texts[token] for token, _ in itertools.groupby(path))
            if said == " " + phrase or (said == phrase and begin == 0):
                lost = sum(
                    float(frame.max() - frame[token]) for frame, token in zip(frames[begin:], path, strict=False)
                )
                most = min(most, lost)
                whole = min(whole, lost) if length == 4 else whole
    for lost, found in ((whole + 1e-4, True), (most - 1e-4, False)):
        if fewest is not None and math.isfinite(lost):
            assert bool(spot(frames, vocabulary, phrase, threshold=math.exp(-lost / fewest))) == found


def said_in(vocabulary: Vocabulary, words: list[str], seed: int) -> Frames:
    """A text in pieces drawn at random, with doubt."""
    random, rows = np.random.default_rng(seed), list[np.ndarray]()
    texts = {text: token for token in range(len(vocabulary.symbols)) if (text := Spelling.of(vocabulary).text(token))}
    left = "".join(" " + word for word in words)
    while left:
        begins = [text for text in texts if left.startswith(text)]
        text = str(random.choice(begins))
        for token, height in ((texts[text], 4.0), (vocabulary.blank, 6.0)):
            rows += [random.normal(size=len(vocabulary.symbols)) for _ in range(random.integers(1, 3))]
            for row in rows[-1:]:
                row[token] += height
        left = left[len(text) :]
    return normalised(np.asarray(rows))


RICH = Vocabulary.of(("▁", "▁a", "▁ab", "a", "b", "c", "'", "ca", "ba", "▁c", "▁b", "<unk>", "<blk>"), 12, None, [11])


@settings(deadline=None, max_examples=25)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), seed=SEEDS)
def test_what_is_announced_stable_begins_every_later_best_and_the_final(
    words: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = model_of(RICH, load(tmp_path_factory.getbasetemp()), width=6)
    search = BeamSearch(model, (), Phrases.of(PHRASES.items(), model))
    promised = [""]
    for frame in said_in(RICH, words, seed):
        search.push(frame[None])
        text = search.best_text
        assert (text + " ").startswith(promised[-1] + " " if promised[-1] else "")
        promised.append(text[: stable_characters(search, RICH)])
    for reading in search.readings():
        assert (reading.text + " ").startswith(promised[-1] + " " if promised[-1] else "")


def test_where_nothing_was_said_no_word_has_ended() -> None:
    assert not BeamSearch(model_of(of_pieces(["▁a", "b"]))).at_word_end


def test_hidden_tokens_and_letters_beyond_ascii_change_no_word() -> None:
    vocabulary = Vocabulary.of(("<pad>", "<s>", "|", "é", "t"), 0, 2, [1])
    model = DecodingModel(
        vocabulary, Lexicon.of(["été"], Spelling.of(vocabulary)), options=SearchOptions(unknown_score=-20.0)
    )
    frames = peaks(vocabulary, "é", "t", "<s>", "é", "|", "<s>", "|", "é", "t", "é")
    readings = searched(model, frames).readings()
    assert readings[0].text == "été été" and readings[0].score > -5.0
    phrases = Phrases.of([("L'été", 1.0), ("Été", 1.0)], model)
    assert len(phrases.earned) > 2
    assert searched(model, frames, phrases=phrases).readings()[0].score > readings[0].score + 4.0


def spotted_in(utterance: OpenUtterance, frames: Frames, begin: int = 0) -> list[Occurrence]:
    """What is spotted as an utterance hears frames from the one numbered ``begin`` on."""
    taken, spotted = utterance.hear(frames, np.arange(begin, begin + len(frames), dtype=np.int64) * HOP, HOP)
    assert taken == len(frames)
    return [each for _, occurrences in spotted for each in occurrences]


def test_a_session_has_phrases_spots_alternatives_and_times_in_pieces(tmp_path: Path) -> None:
    model = city(tmp_path)
    settings_ = SettingsReader(model).read(
        {"boost": [{"phrase": "York"}], "spot": [{"phrase": "see"}, {"phrase": "york"}], "alternatives": 3}
    )
    utterance = OpenUtterance(model, 0, (), settings_)
    spotted = [*spotted_in(utterance, table(CITY, *SAID)), *utterance.finish()]
    readings = utterance.readings()
    words = utterance.words(readings[0])
    assert [each.phrase for each in spotted] == ["see", "york"]
    assert [(word.text, word.begin // HOP, word.end // HOP) for word in words] == [
        ("see", 0, 1),
        ("knew", 1, 2),
        ("york", 3, 4),
    ]
    others = [each.text for each in utterance.alternatives(readings[0].text, readings)]
    assert "see new york" in others[:3]
    utterance.configure(SettingsReader(model).read({"spot": [{"phrase": "yolk"}]}))
    assert spotted_in(utterance, peaks(CITY, "▁yolk", "<blk>"), begin=4) == []
    assert [each.phrase for each in utterance.finish()] == ["yolk"]
    assert utterance.readings()[0].text == "see knew york yolk"


@pytest.mark.parametrize(("gap", "taken"), [(7, 80), (8, 41)])
def test_a_long_utterance_ends_at_a_pause_between_pieces_if_it_has_one(tmp_path: Path, gap: int, taken: int) -> None:
    """From 1 s on, of at most 5: 280 ms between pieces may lie inside a word, 320 ms do not."""
    model = city(tmp_path)
    utterance = OpenUtterance(model, 0, (), SettingsReader(model).read({"endpointing": {"max_utterance_s": 5}}))
    said = [*["▁new", *["<blk>"] * 7] * 4, "▁york", *["<blk>"] * gap]
    frames = peaks(CITY, *(said * 2)[:80])
    count, _ = utterance.hear(frames, np.arange(len(frames), dtype=np.int64) * HOP, HOP)
    assert count == taken


@pytest.mark.parametrize("waits", [(16_000,), (8_000, 16_000), (3_000, 6_000, 16_000)])
def test_silence_ends_it_there_too_however_it_is_told(tmp_path: Path, waits: tuple[int, ...]) -> None:
    utterance = OpenUtterance(city(tmp_path), 0, (), SettingsReader(city(tmp_path)).read({}))
    rules = replace(Rules(), max_utterance=80_000)
    heard = 31 * HOP
    assert spotted_in(utterance, peaks(CITY, *["▁new", *["<blk>"] * 4] * 6, "▁york")) == []
    for until in waits:
        left, _ = silence_left(utterance.progress, rules)
        utterance.wait(min(heard + until, utterance.position + max(left, 0)))
    assert utterance.position == heard + PIECE_PAUSE


def test_without_words_pieces_are_texts(tmp_path: Path) -> None:
    assert "abba" in ARPA and EXAMPLE.of_pieces
    frames = noise(3, 4, len(EXAMPLE.symbols))
    found = searched(model_of(EXAMPLE, width=3000, **EXACT), frames).readings()
    assert {each.text: each.score for each in found} == pytest.approx(sums(frames, EXAMPLE), abs=1e-4)
    assert without_words().spelling.text(VOCABULARY.separator) == " "
