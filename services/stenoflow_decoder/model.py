"""What decoding needs to know: vocabulary, weights, lexicon and language model of one bundle, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow.alignment.words import AS_SAID, Calibration
from stenoflow.bundle.loading import Bundle
from stenoflow_decoder.language_model import LanguageModel, NoLanguageModel, load_language_model
from stenoflow_decoder.lexicon import Lexicon
from stenoflow_decoder.spelling import Spelling


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How wide the search looks, and what words weigh.

    Args:
        beam_width: hypotheses kept after each frame.
        score_margin: natural log; hypotheses further below the best go.
        top_tokens: tokens tried per frame, at most.
        token_margin: natural log; tokens further below a frame's best are not tried.
        blank_skip: natural log; a run of frames whose blank lies above is one blank.
        lm_weight: factor on the language model's natural logarithms, 0 or more.
        word_score: natural log, added per word.
        unknown_score: natural log, added per word outside the lexicon.
        prior_weight: factor on the labels' priors, which are taken off what the model says.
        phrase_score: natural log, added per letter of a phrase that the session expects, times the phrase's weight.
        recombine: drop a hypothesis that another one will beat whatever follows: the promise of stable
            text comes words earlier, and other readings differ in their last words only.
    """

    beam_width: int = 16
    score_margin: float = 10.0
    top_tokens: int = 12
    token_margin: float = 8.0
    blank_skip: float = -0.02
    lm_weight: float = 0.5
    word_score: float = 0.0
    unknown_score: float = -10.0
    prior_weight: float = 0.0
    phrase_score: float = 2.0
    recombine: bool = True


@dataclass(frozen=True)
class DecodingModel:
    """One bundle, ready for decoding; shared by all tracks, never changed.

    Args:
        vocabulary: its tokens.
        lexicon: its words.
        language_model: over them.
        options: the search's.
        calibration: of confidences.
        log_priors: by token, natural log of how often the model says it; empty where nobody measured it.
    """

    vocabulary: Vocabulary
    lexicon: Lexicon
    language_model: LanguageModel[Any] = field(default_factory=NoLanguageModel)
    options: SearchOptions = SearchOptions()
    calibration: Calibration = AS_SAID
    log_priors: tuple[float, ...] = ()

    @cached_property
    def penalties(self) -> NDArray[np.float32]:
        """By token, natural log: what the search takes off each frame, float32 (V,).

        The n-gram knows how likely letters are, so what the model believes of that beforehand counts less: of P(label |
        sound) / P(label)^w the search makes P(sound | label). Kanda, Lu and Kawai 2016, "Maximum a posteriori based
        decoding for CTC acoustic models".
        """
        penalties = np.zeros(len(self.vocabulary.symbols), np.float32)
        penalties[: len(self.log_priors)] = self.log_priors
        return penalties * np.float32(self.options.prior_weight)

    @cached_property
    def parameters(self) -> NDArray[np.float64]:
        """The numbers of vocabulary and options in the order in which the compiled search reads them."""
        options = self.options
        return np.asarray(
            [
                self.vocabulary.blank,
                self.vocabulary.separator,
                options.top_tokens,
                options.token_margin,
                options.score_margin,
                options.lm_weight,
                options.word_score,
                options.unknown_score,
                options.recombine,
                options.beam_width,
                options.blank_skip - float(self.penalties[self.vocabulary.blank]),
            ],
            np.float64,
        )

    @cached_property
    def spelling(self) -> Spelling:
        """What each token adds to a text."""
        return Spelling.of(self.vocabulary)

    @cached_property
    def look_ahead(self) -> NDArray[np.float32]:
        """By lexicon node, the unigram score of the best word that can become of it (for ranking only)."""
        nowhere = self.language_model.anywhere()
        return self.lexicon.best_below(lambda word: self.language_model.score(nowhere, word)[1])

    @classmethod
    def from_bundle(cls, bundle: Bundle, **overrides: float) -> DecodingModel:
        """Reads the decoder's files of a verified bundle.

        Args:
            bundle: its tokens, n-gram, lexicon and weights are used.
            overrides: fields of :class:`SearchOptions` that the process sets over the bundle's.

        Raises:
            BundleError: a file is damaged, or lexicon and tokens do not fit.
            ConfigError: no library for the n-gram is installed.
        """
        tokens, card = bundle.card.tokens, bundle.card.decoder
        vocabulary = Vocabulary.of(tokens.symbols, tokens.blank, tokens.separator, tokens.hidden)
        spelling = Spelling.of(vocabulary)
        lexicon = (
            Lexicon.of((), spelling) if card.lexicon is None else Lexicon.load(bundle.path(card.lexicon), spelling)
        )
        language_model: LanguageModel[Any] = NoLanguageModel()
        if card.language_model is not None:
            language_model = load_language_model(bundle.path(card.language_model), lexicon.words)
        weights: dict[str, Any] = {
            "beam_width": card.beam_width,
            "lm_weight": card.lm_weight,
            "word_score": card.word_score,
            "unknown_score": card.unknown_score,
            "prior_weight": card.prior_weight,
        }
        return cls(
            vocabulary,
            lexicon,
            language_model,
            SearchOptions(**(weights | overrides)),
            Calibration(**card.confidence.model_dump()) if card.confidence else AS_SAID,
            card.log_priors,
        )
