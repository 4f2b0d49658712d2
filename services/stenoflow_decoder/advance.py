"""Frames through the beam: the compiled part of the search, which :mod:`stenoflow_decoder.search` asks for.

A call takes as many frames as it can, for the call alone costs 3 µs and a frame some 10. It comes back early where
Python is needed: for the scores of words that nobody has asked the language model for yet, and for room.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled
from stenoflow.alignment.vocabulary import NO_SEPARATOR
from stenoflow_decoder.fusion import MISSING, find
from stenoflow_decoder.hypothesis import (
    CONTEXT,
    DEPTH,
    FIRST_CHILD,
    NEXT_SIBLING,
    NONE,
    PARENT,
    PHRASE,
    SLOT,
    TOKEN,
    TRIE,
)
from stenoflow_decoder.lexicon import OFF_LEXICON, ROOT, UNKNOWN_WORD, child_of
from stenoflow_decoder.spelling import state_after

DONE, WORDS_WANTED, TREE_FULL = 0, 1, 2
"""What a call ends with: all frames taken, or what the next frame lacks."""

NEARLY = 1.0 - 1e-9
"""What rounding may take off a bound of sound."""

SCORE_MARGIN, LM_WEIGHT = 4, 5
"""Their places among the model's parameters."""


@compiled
def advance(
    frames: NDArray[np.float32],
    first: int,
    in_blank: NDArray[np.uint8],
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
) -> tuple[int, int, int]:
    """Takes frames from the one numbered ``first`` on.

    ``in_blank`` (1,) is whether the last frame was a sure blank. A run of those is one blank: the first of it separates
    equal letters, the others change nothing.

    Returns:
        An outcome, the frame that it was met at (nothing of which has been taken), and how many words are wanted.
    """
    blank, blank_skip = int(parameters[0]), parameters[10]
    for at in range(first, frames.shape[0]):
        sure = frames[at, blank] > blank_skip
        if sure and in_blank[0] == 1:
            log_scale[0] += np.float64(frames[at, blank])
            continue
        outcome, missing = _take(
            frames[at],
            parameters,
            nodes,
            fused,
            count,
            beam,
            paths,
            live,
            log_scale,
            edge,
            begins,
            letter,
            first_child,
            child_count,
            letter_in,
            word_at,
            look_ahead,
            keys,
            scores,
            following,
            phrase_following,
            phrase_earned,
            phrase_hoped,
            wanted,
        )
        if outcome != DONE:
            return outcome, at, missing
        in_blank[0] = 1 if sure else 0
    return DONE, frames.shape[0], 0


@compiled
def _take(
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
    """One frame: ``(DONE, 0)``, or what is missing, with nothing changed.

    ``paths`` is (beam, 2): in blank, not. ``live`` is hypotheses, and how many of them, the first, are hosts.
    """
    blank, separator, top_tokens = int(parameters[0]), int(parameters[1]), int(parameters[2])
    token_margin, score_margin = parameters[3], parameters[SCORE_MARGIN]
    lm_weight, word_score, unknown_score = parameters[LM_WEIGHT], parameters[6], parameters[7]
    recombine = parameters[8] > 0.0
    width, held, hosts = int(parameters[9]), live[0], live[1]
    expecting = phrase_following.shape[0] > 1
    if count[0] + beam.size > nodes.shape[0]:
        return TREE_FULL, 0

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
                continue  # step 4 will not end its word by this token
            word = UNKNOWN_WORD if trie == OFF_LEXICON else word_at[trie]
            context = nodes[beam[slot], CONTEXT]
            if find(keys, context, word) == MISSING:
                # Several hypotheses may want the same one.
                wanted[missing, 0], wanted[missing, 1] = context, word
                known = 0
                while wanted[known, 0] != context or wanted[known, 1] != word:
                    known += 1
                missing = max(missing, known + 1)
            break
    if missing > 0:
        return WORDS_WANTED, missing

    # 3. Candidates. The first ones are the live prefixes themselves, in their slots.
    limit = held * (chosen + 1)
    whole, sums = np.empty((6, limit), np.int32), np.zeros((4, limit))
    node_of, parent_of, last_of, tries, contexts, phrases = whole[0], whole[1], whole[2], whole[3], whole[4], whole[5]
    in_blank, in_token, words, ranks = sums[0], sums[1], sums[2], sums[3]
    from_hosts = np.zeros(held)
    best = -np.inf
    for slot in range(held):
        node = beam[slot]
        last, trie = nodes[node, TOKEN], nodes[node, TRIE]
        node_of[slot], last_of[slot], words[slot] = node, last, fused[node]
        tries[slot], contexts[slot], phrases[slot] = trie, nodes[node, CONTEXT], nodes[node, PHRASE]
        both = paths[slot, 0] + paths[slot, 1]
        # *a + ε → *a
        in_blank[slot] = both * probability[blank]
        if last == NONE:
            # ε + space → ε: separators before the first word say nothing
            if separator != NO_SEPARATOR:
                in_blank[slot] += both * probability[separator]
        elif last == separator:
            # *_ + space → *_: and so do repeated ones
            in_token[slot] = both * probability[separator]
        else:
            # *a + a → *a
            in_token[slot] = paths[slot, 1] * probability[last]
        mass = in_blank[slot] + in_token[slot]
        if slot < hosts and mass > 0.0:
            best = max(best, math.log(mass) + words[slot] + lm_weight * look_ahead[trie])

    # 4. Extensions, each scored as it is made: sound, words, complete phrases, and the best that can still become of
    # an open word. Guests have no score until their phrase is complete, or hosts come to the same prefix: they must not
    # push out what a session without phrases would have kept, as most phrases that begin are not said.
    made = held
    children = np.full(frame.size, NONE, np.int32)
    off_lexicon = unknown_score + lm_weight * look_ahead[OFF_LEXICON]
    for slot in range(held):
        parent, last = beam[slot], last_of[slot]
        both = paths[slot, 0] + paths[slot, 1]
        # What can become of an open word only falls as it grows, for logarithms of probabilities are 0 or less and the
        # weight is not: with less sound than this no letter reaches the beam.
        hoped = max(lm_weight * look_ahead[tries[slot]], off_lexicon)
        least = math.exp(best - score_margin - words[slot] - hoped) * NEARLY
        child = nodes[parent, FIRST_CHILD]
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
            node = children[token]
            if node != NONE and nodes[node, SLOT] != NONE:
                in_token[nodes[node, SLOT]] += mass  # the same prefix is alive: merge
                if slot < hosts:
                    from_hosts[nodes[node, SLOT]] += mass
                continue
            ends = edge[token] != 0
            scored = slot < hosts or (ends and phrase_earned[phrases[slot]] > 0.0)
            phrase = phrases[slot]
            if expecting:
                phrase = state_after(phrase_following, edge, begins, letter, phrase, token)
            if phrase_hoped[phrase] <= 0.0 and (not scored or (mass < least and not ends)):
                continue
            if node != NONE:
                earned, trie = fused[node], nodes[node, TRIE]
                context, phrase = nodes[node, CONTEXT], nodes[node, PHRASE]
            else:
                earned, trie, context = words[slot], tries[slot], contexts[slot]
                if ends and trie != ROOT:
                    word = UNKNOWN_WORD if trie == OFF_LEXICON else word_at[trie]
                    entry = find(keys, context, word)
                    earned += lm_weight * scores[entry] + word_score + phrase_earned[phrases[slot]]
                    if word == UNKNOWN_WORD and trie != OFF_LEXICON:
                        earned += unknown_score
                    trie, context = ROOT, following[entry]
                for part in range(begins[token], begins[token + 1]):
                    if trie == OFF_LEXICON:
                        break
                    trie = child_of(first_child, child_count, letter_in, trie, letter[part])
                    if trie == OFF_LEXICON:
                        earned += unknown_score  # known as soon as no word begins like this
            rank = math.log(mass) + earned + lm_weight * look_ahead[trie] if scored else -np.inf
            if rank < best - score_margin and phrase_hoped[phrase] <= 0.0:
                continue
            best = max(best, rank)
            node_of[made], parent_of[made], last_of[made] = node, parent, token
            tries[made], contexts[made], phrases[made] = trie, context, phrase
            in_token[made], words[made], ranks[made] = mass, earned, rank
            made += 1
        child = nodes[parent, FIRST_CHILD]
        while child != NONE:
            children[nodes[child, TOKEN]] = NONE
            child = nodes[child, NEXT_SIBLING]
    for slot in range(held):
        mass = in_blank[slot] + in_token[slot] if slot < hosts else from_hosts[slot]
        ranks[slot] = math.log(mass) + words[slot] + lm_weight * look_ahead[tries[slot]] if mass > 0.0 else -np.inf
        best = max(best, ranks[slot])
    ranks = ranks[:made]

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
        return DONE, 0  # a frame of no probability at all: as if it had not been
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
    return DONE, 0


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
