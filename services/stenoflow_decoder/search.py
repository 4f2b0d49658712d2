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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow.alignment.vocabulary import NO_SEPARATOR
from stenoflow_decoder.fusion import MISSING, WordScores, find
from stenoflow_decoder.hypothesis import (
    CONTEXT,
    DEPTH,
    EMPTY,
    FIRST_CHILD,
    NEXT_SIBLING,
    NONE,
    PARENT,
    PHRASE,
    SLOT,
    TOKEN,
    TRIE,
    Tree,
)
from stenoflow_decoder.lexicon import OFF_LEXICON, ROOT, UNKNOWN_WORD, child_of
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.phrases import Phrases
from stenoflow_decoder.spelling import state_after

_DONE, _WORDS_WANTED, _TREE_FULL = 0, 1, 2

_LM_WEIGHT = 5
"""Its place among the model's parameters."""

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
        self._in_blank = False
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
        self._parameters[_LM_WEIGHT] = self._lm_weight

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

    def push(self, frame: NDArray[np.float32]) -> None:
        """Takes one frame.

        Args:
            frame: float32 (V,), natural-log probabilities; finite or -inf.
        """
        model, options = self._model, self._model.options
        # A run of sure blanks is one blank: the first of it separates equal letters, the others change nothing.
        sure = frame[model.vocabulary.blank] > options.blank_skip
        if sure and self._in_blank:
            self._log_scale[0] += float(frame[model.vocabulary.blank])
            return
        self._in_blank = bool(sure)
        lexicon, spelling, words, phrases = model.lexicon, model.spelling, self._words, self._phrases
        while True:
            outcome, wanted = _advance(
                frame,
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
                model.look_ahead,
                words.keys,
                words.scores,
                words.following,
                phrases.following,
                phrases.earned,
                phrases.hoped,
                self._wanted,
            )
            if outcome == _DONE:
                return
            if outcome == _TREE_FULL:
                self.tree.sweep(self.beam, room=self._beam.size)
            for context, word in self._wanted[:wanted].tolist():
                if find(words.keys, context, word) == MISSING:
                    words.add(context, word)

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
def _advance(
    frame: NDArray[np.float32],
    parameters: NDArray[np.float64],
    nodes: NDArray[np.int32],
    fused: NDArray[np.float64],
    count: NDArray[np.int64],
    beam: NDArray[np.int32],
    paths: NDArray[np.float64],
    live: NDArray[np.int64],
    log_scale: NDArray[np.float64],
    edge: NDArray[np.uint8],
    begins: NDArray[np.int32],
    letter: NDArray[np.int32],
    first_child: NDArray[np.int32],
    child_count: NDArray[np.unsignedinteger[Any]],
    letter_in: NDArray[np.unsignedinteger[Any]],
    word_at: NDArray[np.int32],
    look_ahead: NDArray[np.float32],
    keys: NDArray[np.int64],
    scores: NDArray[np.float64],
    following: NDArray[np.int32],
    phrase_following: NDArray[np.int32],
    phrase_earned: NDArray[np.float64],
    phrase_hoped: NDArray[np.float64],
    wanted: NDArray[np.int32],
) -> tuple[int, int]:
    """One frame: ``(_DONE, 0)``, or what is missing, with nothing changed.

    ``paths`` is (beam, 2): in blank, not. ``live`` is hypotheses, and how many of them, the first, are hosts.
    """
    blank, separator, top_tokens = int(parameters[0]), int(parameters[1]), int(parameters[2])
    token_margin, score_margin = parameters[3], parameters[4]
    lm_weight, word_score, unknown_score = parameters[_LM_WEIGHT], parameters[6], parameters[7]
    recombine = parameters[8] > 0.0
    width, held, hosts = int(parameters[9]), live[0], live[1]
    expecting = phrase_following.shape[0] > 1
    if count[0] + beam.size > nodes.shape[0]:
        return _TREE_FULL, 0

    # 1. Tokens worth extending by: the likeliest, none far below the best.
    tokens = np.empty(frame.size, np.int32)
    chosen = 0
    floor = frame.max() - token_margin
    for token in range(frame.size):
        if token == blank or not frame[token] >= floor or frame[token] == -np.inf:
            continue
        at = min(chosen, top_tokens)
        while at > 0 and frame[tokens[at - 1]] < frame[token]:
            if at < top_tokens:
                tokens[at] = tokens[at - 1]
            at -= 1
        if at < top_tokens:
            tokens[at] = token
            chosen = min(chosen + 1, top_tokens)
    probability = np.exp(frame.astype(np.float64))
    edges = 0  # how many of them end a word
    for at in range(chosen):
        edges += edge[tokens[at]]

    # 2. Word ends whose score is not known yet: go and ask, then come back.
    missing = 0
    for slot in range(held if edges > 0 else 0):
        trie, phrase = nodes[beam[slot], TRIE], nodes[beam[slot], PHRASE]
        if trie == ROOT:
            continue
        for at in range(chosen):
            if edge[tokens[at]] == 0 or (
                slot >= hosts
                and phrase_earned[phrase] <= 0.0
                and phrase_hoped[state_after(phrase_following, edge, begins, letter, phrase, tokens[at])] <= 0.0
            ):
                continue  # step 3 will not end its word by this token
            word = UNKNOWN_WORD if trie == OFF_LEXICON else word_at[trie]
            if find(keys, nodes[beam[slot], CONTEXT], word) == MISSING:
                wanted[missing, 0], wanted[missing, 1] = nodes[beam[slot], CONTEXT], word
                missing += 1
            break
    if missing > 0:
        return _WORDS_WANTED, missing

    # 3. Candidates. The first ones are the live prefixes themselves, in their slots; extensions follow.
    limit = held * (chosen + 1)
    node_of = np.empty(limit, np.int32)
    parent_of = np.empty(limit, np.int32)
    last_of = np.empty(limit, np.int32)
    in_blank = np.zeros(limit)
    in_token = np.zeros(limit)
    from_hosts = np.zeros(held)
    node_of[:held] = beam[:held]
    made = held
    children = np.full(frame.size, NONE, np.int32)
    for slot in range(held):
        node = beam[slot]
        last = nodes[node, TOKEN]
        last_of[slot] = last
        both = paths[slot, 0] + paths[slot, 1]
        # *a + ε → *a
        in_blank[slot] += both * probability[blank]
        if last == NONE:
            # ε + space → ε: separators before the first word say nothing
            if separator != NO_SEPARATOR:
                in_blank[slot] += both * probability[separator]
        elif last == separator:
            # *_ + space → *_: and so do repeated ones
            in_token[slot] += both * probability[separator]
        else:
            # *a + a → *a
            in_token[slot] += paths[slot, 1] * probability[last]
        child = nodes[node, FIRST_CHILD]
        while child != NONE:
            children[nodes[child, TOKEN]] = child
            child = nodes[child, NEXT_SIBLING]
        for at in range(chosen):
            token = tokens[at]
            if token == separator and last in (NONE, separator):
                continue
            # *aε + a → *aa, *a + b → *ab
            mass = (paths[slot, 0] if token == last else both) * probability[token]
            if mass <= 0.0:
                continue
            child = children[token]
            if child != NONE and nodes[child, SLOT] != NONE:
                in_token[nodes[child, SLOT]] += mass  # the same prefix is alive: merge
                if slot < hosts:
                    from_hosts[nodes[child, SLOT]] += mass
            elif (
                slot < hosts
                or (edge[token] != 0 and phrase_earned[nodes[node, PHRASE]] > 0.0)
                or phrase_hoped[state_after(phrase_following, edge, begins, letter, nodes[node, PHRASE], token)] > 0.0
            ):
                node_of[made], parent_of[made], last_of[made] = child, node, token
                in_token[made] = mass
                made += 1
        child = nodes[node, FIRST_CHILD]
        while child != NONE:
            children[nodes[child, TOKEN]] = NONE
            child = nodes[child, NEXT_SIBLING]

    # 4. Scores: sound, words, complete phrases, and the best that can still become of an open word. Guests have none,
    # until their phrase is complete, or hosts come to the same prefix: they must not push out what a session without
    # phrases would have kept, as most phrases that begin are not said.
    words = np.empty(made)
    tries = np.empty(made, np.int32)
    contexts = np.empty(made, np.int32)
    phrases = np.empty(made, np.int32)
    ranks = np.empty(made)
    best = -np.inf
    for candidate in range(made):
        node = node_of[candidate]
        if node != NONE:
            words[candidate], tries[candidate] = fused[node], nodes[node, TRIE]
            contexts[candidate], phrases[candidate] = nodes[node, CONTEXT], nodes[node, PHRASE]
        else:
            node = parent_of[candidate]
            trie, earned = nodes[node, TRIE], fused[node]
            context, phrase, token = nodes[node, CONTEXT], nodes[node, PHRASE], last_of[candidate]
            if edge[token] != 0 and trie != ROOT:
                word = UNKNOWN_WORD if trie == OFF_LEXICON else word_at[trie]
                entry = find(keys, context, word)
                earned += lm_weight * scores[entry] + word_score + phrase_earned[phrase]
                if word == UNKNOWN_WORD and trie != OFF_LEXICON:
                    earned += unknown_score
                trie, context = ROOT, following[entry]
            for at in range(begins[token], begins[token + 1]):
                if trie == OFF_LEXICON:
                    break
                trie = child_of(first_child, child_count, letter_in, trie, letter[at])
                if trie == OFF_LEXICON:
                    earned += unknown_score  # known as soon as no word begins like this
            words[candidate], tries[candidate], contexts[candidate] = earned, trie, context
            if expecting:
                phrase = state_after(phrase_following, edge, begins, letter, phrase, token)
            phrases[candidate] = phrase
        mass = in_blank[candidate] + in_token[candidate]
        if candidate < held:
            if candidate >= hosts:
                mass = from_hosts[candidate]
        elif nodes[parent_of[candidate], SLOT] >= hosts and (
            edge[last_of[candidate]] == 0 or phrase_earned[nodes[parent_of[candidate], PHRASE]] <= 0.0
        ):
            mass = 0.0
        ranks[candidate] = -np.inf
        if mass > 0.0:
            ranks[candidate] = math.log(mass) + words[candidate] + lm_weight * look_ahead[tries[candidate]]
        best = max(best, ranks[candidate])

    # 5. Recombination. Hypotheses with the same context, open word, place in a phrase and last token earn the same from
    # here on, so one that is behind another in both of its sums stays behind; it goes, though its text differs further
    # back. What its own shorter prefix may still bring counts as brought.
    if recombine:
        slots = 1
        while slots < 2 * made:
            slots *= 2
        met = np.full(slots, NONE, np.int32)
        for candidate in range(made):
            if ranks[candidate] == -np.inf:
                continue
            key = (np.int64(contexts[candidate]) * 1000003 + tries[candidate]) * 1000003 + last_of[candidate]
            key += np.int64(phrases[candidate]) * 40503
            at = (key ^ (key >> 23)) & (slots - 1)
            while met[at] != NONE:
                other = met[at]
                if (
                    contexts[other] == contexts[candidate]
                    and tries[other] == tries[candidate]
                    and phrases[other] == phrases[candidate]
                    and last_of[other] == last_of[candidate]
                ):
                    break
                at = (at + 1) & (slots - 1)
            if met[at] == NONE:
                met[at] = candidate
                continue
            ahead, behind = met[at], candidate
            if ranks[behind] > ranks[ahead]:
                ahead, behind = behind, ahead
            lead = math.exp(words[ahead] - words[behind])
            node = node_of[behind]
            parent = nodes[node, PARENT] if node != NONE else parent_of[behind]
            if parent != NONE and nodes[parent, SLOT] != NONE:
                inflow = in_blank[nodes[parent, SLOT]] + in_token[nodes[parent, SLOT]]
            else:
                inflow = 0.0
            if (
                in_blank[ahead] * lead >= in_blank[behind] + inflow
                and in_token[ahead] * lead >= in_token[behind] + inflow
            ):
                ranks[behind] = -np.inf
            met[at] = ahead

    # 6. The beam: the best by score, none far below the first; then guests, by what phrases that they began may bring.
    order = np.empty(beam.size, np.int32)
    hosts = _best(ranks, best - score_margin, order[:width])
    kept = hosts
    if beam.size > width:
        hopes = np.full(made, -np.inf)
        for candidate in range(made):
            mass, hoped = in_blank[candidate] + in_token[candidate], phrase_hoped[phrases[candidate]]
            if hoped > 0.0 and mass > 0.0:
                hopes[candidate] = math.log(mass) + words[candidate] + lm_weight * look_ahead[tries[candidate]] + hoped
        for at in range(hosts):
            hopes[order[at]] = -np.inf
        kept += _best(hopes, best - score_margin, order[hosts : hosts + beam.size - width])

    # 7. New prefixes become nodes, and the best sound is scaled to 1.
    if hosts == 0:
        return _DONE, 0  # a frame of no probability at all: as if it had not been
    loudest = 0.0
    for at in range(kept):
        loudest = max(loudest, in_blank[order[at]] + in_token[order[at]])
    for slot in range(held):
        nodes[beam[slot], SLOT] = NONE
    for slot in range(kept):
        candidate = order[slot]
        node = node_of[candidate]
        if node == NONE:
            node = count[0]
            count[0] += 1
            parent = parent_of[candidate]
            nodes[node, PARENT], nodes[node, TOKEN] = parent, last_of[candidate]
            nodes[node, FIRST_CHILD], nodes[node, NEXT_SIBLING] = NONE, nodes[parent, FIRST_CHILD]
            nodes[parent, FIRST_CHILD] = node
            nodes[node, DEPTH] = nodes[parent, DEPTH] + 1
            nodes[node, TRIE], nodes[node, CONTEXT] = tries[candidate], contexts[candidate]
            nodes[node, PHRASE] = phrases[candidate]
            fused[node] = words[candidate]
        nodes[node, SLOT] = slot
        beam[slot] = node
        paths[slot, 0] = in_blank[candidate] / loudest
        paths[slot, 1] = in_token[candidate] / loudest
    live[0], live[1] = kept, hosts
    log_scale[0] += math.log(loudest)
    return _DONE, 0


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


@compiled
def _best(ranks: NDArray[np.float64], floor: float, order: NDArray[np.int32]) -> int:
    """Fills ``order`` with the best candidates that reach a floor, best first; how many there are."""
    kept, width = 0, order.size
    for candidate in range(ranks.size):
        if ranks[candidate] < floor or ranks[candidate] == -np.inf:
            continue
        at = kept
        if kept == width:
            if ranks[candidate] <= ranks[order[width - 1]]:
                continue
            at = width - 1
        else:
            kept += 1
        while at > 0 and ranks[order[at - 1]] < ranks[candidate]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = candidate
    return kept
