"""Incremental CTC prefix beam search with words fused at their ends.

After Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent
DNNs" (algorithm 1), in the form of wenet's ``ctc_prefix_beam_search``. The beam is carried from frame to frame, so
how emissions are cut into chunks cannot change anything. Runs of separators count as one and separators before the
first word as none; the prefix is thus the text itself, or of word pieces one way to cut it. A word is over where a
token with the edge of a word follows, the separator or a piece that begins the next one.

Probabilities of prefixes are kept as plain numbers, scaled anew at each frame so that the best is 1: sums of paths
are then additions, and the one logarithm per candidate is for ranking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow_decoder.advance import LM_WEIGHT, TREE_FULL, WORDS_WANTED, advance
from stenoflow_decoder.fusion import WordScores
from stenoflow_decoder.hypothesis import (
    CONTEXT,
    EMPTY,
    PARENT,
    PHRASE,
    TOKEN,
    TRIE,
    Tree,
)
from stenoflow_decoder.lexicon import OFF_LEXICON, ROOT, UNKNOWN_WORD
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.spelling import state_after

HOSTS_PER_GUEST = 2
"""In sessions with phrases the beam has, for so many places, one more for a guest: a hypothesis that only the phrase
that it has begun may bring back."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A reading of the utterance so far.

    Args:
        text: words joined by single spaces.
        score: natural log of its fused score: sound, weighted language model, word and unknown-word scores,
            phrases.
        tokens: how it is spelled; of several ways the likeliest.
    """

    text: str
    score: float
    tokens: tuple[int, ...] = ()


class BeamSearch:
    """The beam over one utterance: feed it frames in order, ask it at any time.

    Args:
        model: vocabulary, lexicon, language model and weights.
        previous: the words before the utterance, newest last; they decide the first word's score.
        phrases: what the session expects, if anything.
        lm_weight: factor on the model's weight of its language model.
    """

    def __init__(
        self,
        model: DecodingModel,
        previous: tuple[str, ...] = (),
        phrases: Phrases | None = None,
        lm_weight: float = 1.0,
    ) -> None:
        self._model = model
        self._phrases = phrases or Phrases.none(model.spelling)
        self._words = WordScores(model.language_model, model.lexicon.words, previous)
        self.tree = Tree(WordScores.start)
        width = model.options.beam_width
        self._beam = np.zeros(width, np.int32)
        self._paths = np.zeros((width, 2))
        self._paths[0, 0] = 1.0
        self._live = np.ones(2, np.int64)
        self._log_scale = np.zeros(1)
        self._wanted = np.zeros((width, 2), np.int32)
        self._in_blank = np.zeros(1, np.uint8)
        self._make_room()
        self._weigh(lm_weight)

    def configure(self, phrases: Phrases, lm_weight: float) -> None:
        """Other settings from the next frame on: what hypotheses have earned they keep.

        A phrase that is complete from here on earns, also where it was begun before.
        """
        self._weigh(lm_weight)
        if phrases is not self._phrases:
            self._phrases = phrases
            spelling = self._model.spelling
            _read_again(
                self.tree.nodes,
                int(self.tree.count[0]),
                phrases.following,
                spelling.edge,
                spelling.begins,
                spelling.letter,
            )
            self._make_room()

    def _weigh(self, lm_weight: float) -> None:
        self._lm_weight = self._model.options.lm_weight * lm_weight
        self._parameters = self._model.parameters.copy()
        self._parameters[LM_WEIGHT] = self._lm_weight

    def _make_room(self) -> None:
        """Places for guests where there are phrases; they stay when the phrases go, and then nobody takes them."""
        width = self._model.options.beam_width
        more = width + max(1, width // HOSTS_PER_GUEST) - self._beam.size
        if len(self._phrases.earned) > 1 and more > 0:
            self._beam = np.append(self._beam, np.zeros(more, np.int32))
            self._paths = np.append(self._paths, np.zeros((more, 2)), axis=0)
            self._wanted = np.append(self._wanted, np.zeros((more, 2), np.int32), axis=0)

    @property
    def beam(self) -> NDArray[np.int32]:
        """Live hypotheses as nodes of the tree, best first by fused score and look-ahead, int32 (hypotheses,)."""
        return self._beam[: self._live[0]]

    @property
    def recombines(self) -> bool:
        """Whether readings differ in their last words only."""
        return self._model.options.recombine

    @property
    def is_empty(self) -> bool:
        """Whether the best hypothesis holds no token."""
        return bool(self._beam[0] == EMPTY)

    @property
    def at_word_end(self) -> bool:
        """Whether the best hypothesis ends with the separator."""
        # No token is the same number as no separator.
        return not self.is_empty and bool(self.tree.nodes[self._beam[0], TOKEN] == self._model.vocabulary.separator)

    @property
    def best_text(self) -> str:
        """The best hypothesis, its last word perhaps unfinished."""
        return self._model.vocabulary.text(self.tree.tokens(int(self._beam[0])))

    def push(self, frames: NDArray[np.float32]) -> None:
        """Takes the next frames; in how many calls they come changes nothing.

        Args:
            frames: float32 (N, V), natural-log probabilities; finite or -inf.
        """
        lexicon, spelling, words, phrases = self._model.lexicon, self._model.spelling, self._words, self._phrases
        frames = frames - self._model.penalties
        done = 0
        while done < len(frames):
            outcome, done, wanted = advance(
                frames,
                done,
                self._in_blank,
                self._parameters,
                self.tree.nodes,
                self.tree.fused,
                self.tree.count,
                self._beam,
                self._paths,
                self._live,
                self._log_scale,
                spelling.edge,
                spelling.begins,
                spelling.letter,
                lexicon.first_child,
                lexicon.child_count,
                lexicon.letter,
                lexicon.word,
                self._model.look_ahead,
                words.keys,
                words.scores,
                words.following,
                phrases.following,
                phrases.earned,
                phrases.hoped,
                self._wanted,
            )
            if outcome == TREE_FULL:
                self.tree.sweep(self.beam, room=self._beam.size)
            if outcome == WORDS_WANTED:
                words.add(self._wanted[:wanted].tolist())

    def common_tokens(self) -> NDArray[np.int32]:
        """The tokens that all live hypotheses begin with, int32."""
        return self.tree.tokens(self.tree.common_prefix(self.beam))

    def readings(self) -> list[Hypothesis]:
        """All live hypotheses with their last words finished, equal texts summed up; best first."""
        options, lexicon, nodes = self._model.options, self._model.lexicon, self.tree.nodes
        sums: dict[str, float] = {}
        spelled: dict[str, tuple[float, int]] = {}
        for slot, node in enumerate(self.beam.tolist()):
            phrase = self._phrases.earned[nodes[node, PHRASE]]
            if slot >= self._live[1] and phrase <= 0.0:
                continue  # a guest whose phrase did not come
            score = math.log(self._paths[slot].sum()) + self._log_scale[0] + self.tree.fused[node]
            trie = int(nodes[node, TRIE])
            if trie != ROOT:
                word = UNKNOWN_WORD if trie == OFF_LEXICON else int(lexicon.word[trie])
                score += self._lm_weight * self._words.score(int(nodes[node, CONTEXT]), word) + options.word_score
                if trie != OFF_LEXICON and word == UNKNOWN_WORD:
                    score += options.unknown_score
                score += float(phrase)
            text = self._model.vocabulary.text(self.tree.tokens(node))
            spelled[text] = max((float(score), node), spelled.get(text, (-math.inf, node)))
            sums[text] = float(np.logaddexp(sums[text], score)) if text in sums else float(score)
        # Equal scores (there are some in made-up emissions) are told apart by the text, so that every run agrees.
        ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))
        return [Hypothesis(text, score, self._spelling(spelled[text][1])) for text, score in ordered]

    def _spelling(self, node: int) -> tuple[int, ...]:
        """A node's tokens, without a separator at the end."""
        tokens = self.tree.tokens(node).tolist()
        return tuple(tokens[:-1] if tokens and tokens[-1] == self._model.vocabulary.separator else tokens)


@compiled
def _read_again(
    nodes: NDArray[np.int32],
    count: int,
    phrase_following: NDArray[np.int32],
    edge: NDArray[np.uint8],
    begins: NDArray[np.int32],
    letter: NDArray[np.int32],
) -> None:
    """Where each prefix stands between other phrases; parents have smaller numbers than their children."""
    nodes[EMPTY, PHRASE] = 0
    for node in range(1, count):
        before = nodes[nodes[node, PARENT], PHRASE]
        nodes[node, PHRASE] = state_after(phrase_following, edge, begins, letter, before, nodes[node, TOKEN])
