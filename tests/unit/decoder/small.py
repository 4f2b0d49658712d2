"""Small vocabularies, a hand-written n-gram, and emissions of made-up speech."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow_decoder.language_model import KenLm, LanguageModel
from stenoflow_decoder.lexicon import Lexicon
from stenoflow_decoder.model import DecodingModel, SearchOptions
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.search import BeamSearch
from stenoflow_decoder.spelling import Spelling

SYMBOLS = (" ", "a", "b", "c", "'", "<blank>")
BLANK = 5
SEPARATOR = 0
VOCABULARY = Vocabulary(SYMBOLS, BLANK, SEPARATOR)
WORDS = ("a", "ab", "abba", "cab", "baba", "b'ca", "caca")

ARPA = """\\data\\
ngram 1=10
ngram 2=6
ngram 3=2

\\1-grams:
-1.3\t<unk>\t0
-99\t<s>\t-0.3
-1.1\t</s>\t0
-0.7\ta\t-0.4
-0.9\tab\t-0.2
-1.1\tabba\t-0.1
-1.0\tcab\t-0.25
-1.4\tbaba\t-0.05
-1.7\tb'ca\t-0.15
-1.2\tcaca\t-0.35

\\2-grams:
-0.3\t<s> a\t-0.15
-0.4\ta cab\t-0.2
-0.5\tcab ab\t-0.1
-0.2\tab abba\t-0.3
-0.6\tbaba a\t-0.1
-0.7\t<s> cab\t0

\\3-grams:
-0.1\ta cab ab
-0.2\t<s> a cab

\\end\\
"""

EXACT = {"score_margin": 1e9, "token_margin": 1e9, "top_tokens": 99, "blank_skip": 1.0, "recombine": False}
"""Nothing pruned but by the beam's width, nothing skipped."""

Frames = npt.NDArray[np.float32]


def arpa(folder: Path) -> Path:
    path = folder / "small.arpa"
    path.write_text(ARPA)
    return path


def letters(vocabulary: Vocabulary = VOCABULARY) -> Spelling:
    return Spelling.of(vocabulary)


def without_words(vocabulary: Vocabulary = VOCABULARY, width: int = 2000, **options: float) -> DecodingModel:
    """The sound alone."""
    weights = {"beam_width": width, "lm_weight": 0.0, "unknown_score": 0.0, **EXACT, **options}
    return DecodingModel(vocabulary, Lexicon.of((), letters(vocabulary)), options=SearchOptions(**weights))


def with_words(language_model: LanguageModel[object], width: int = 16, **options: float) -> DecodingModel:
    own = {"lm_weight": 0.6, "word_score": 0.3, "unknown_score": -2.0, "phrase_score": 1.0}
    weights = {"beam_width": width, **own, **options}
    return DecodingModel(VOCABULARY, Lexicon.of(WORDS, letters()), language_model, SearchOptions(**weights))


def load(folder: Path) -> LanguageModel[object]:
    return KenLm(arpa(folder))


def normalised(logits: npt.NDArray[np.float64]) -> Frames:
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def noise(seed: int, frames: int, tokens: int = len(SYMBOLS), spread: float = 2.0) -> Frames:
    return normalised(np.random.default_rng(seed).normal(size=(frames, tokens)) * spread)


def speech(text: str, seed: int = 0, doubt: float = 1.5, pause: int = 3) -> Frames:
    """Peaky emissions of a text, as CTC models make them: a frame a letter, blanks between, and doubt."""
    random = np.random.default_rng(seed)
    rows: list[npt.NDArray[np.float64]] = []

    def row(token: int, height: float) -> None:
        rows.append(random.normal(size=len(SYMBOLS)) * doubt)
        rows[-1][token] += height

    for symbol in text:
        for _ in range(random.integers(1, pause + 1)):
            row(BLANK, 7.0)
        for _ in range(random.integers(1, 3)):
            row(SYMBOLS.index(symbol), 4.0)
    row(BLANK, 7.0)
    return normalised(np.asarray(rows))


def silence(frames: int) -> Frames:
    logits = np.full((frames, len(SYMBOLS)), -9.0)
    logits[:, BLANK] = 0.0
    return normalised(logits)


def text_of(path: Iterable[int], vocabulary: Vocabulary) -> str:
    """What a path says, by CTC's rules, with single spaces."""
    tokens = [token for token, _ in itertools.groupby(path) if token != vocabulary.blank]
    return " ".join("".join(" " if t == vocabulary.separator else vocabulary.symbols[t] for t in tokens).split())


def by_brute_force(frames: Frames, vocabulary: Vocabulary) -> dict[str, float]:
    """The natural-log probability of every text, summed over all paths."""
    sums: dict[str, float] = {}
    for path in itertools.product(range(frames.shape[1]), repeat=frames.shape[0]):
        text = text_of(path, vocabulary)
        score = float(sum(frames[at, token] for at, token in enumerate(path)))
        sums[text] = float(np.logaddexp(sums.get(text, -np.inf), score))
    return sums


def searched(
    model: DecodingModel, frames: Frames, previous: Sequence[str] = (), phrases: Phrases | None = None
) -> BeamSearch:
    search = BeamSearch(model, tuple(previous), phrases)
    search.push(frames)
    return search


def words_score(model: DecodingModel, text: str, previous: Sequence[str] = ()) -> float:
    """What words add to a text, counted word by word."""
    options, known = model.options, set(model.lexicon.words)
    state, total = model.language_model.start(tuple(previous)), 0.0
    for word in text.split():
        state, score = model.language_model.score(state, word if word in known else "<unk>")
        total += options.lm_weight * score + options.word_score + (0 if word in known else options.unknown_score)
    return total


def phrases_score(model: DecodingModel, text: str, weights: Mapping[str, float]) -> float:
    """What phrases add to a text: at each word's end the longest that ends there, for words that have not earned."""
    options, known, words = model.options, set(model.lexicon.words), text.split()
    earned, total = [False] * len(words), 0.0
    for end in range(1, len(words) + 1):
        said = [(begin, " ".join(words[begin:end])) for begin in range(end)]
        for begin, phrase in said:
            if phrase in weights:
                for at in range(begin, end):
                    if not earned[at]:
                        earned[at] = True
                        total += weights[phrase] * options.phrase_score * len(words[at])
                        total -= 0 if words[at] in known else options.unknown_score
                break
    return total
