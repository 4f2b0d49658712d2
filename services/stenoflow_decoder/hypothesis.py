"""Hypotheses: token prefixes as nodes of a tree, in flat arrays that do not grow with the call.

A prefix is a node; its parent is the prefix without the last token. What a prefix has earned from words lies with
the node, since it depends on nothing else; what it has earned from the sound lies with the beam, which is a short
list of nodes. Nodes that no live hypothesis descends from are swept out when the arrays are full.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled

PARENT, TOKEN, FIRST_CHILD, NEXT_SIBLING, DEPTH, TRIE, CONTEXT, PHRASE, SLOT = range(9)
"""Columns of ``Tree.nodes``: parent node; last token; first of the children's list; next in the parent's list;
number of tokens; lexicon node of the open word; language model context before the open word; state between phrases;
place in the beam."""

COLUMNS = 9
EMPTY = 0
"""The node of the empty prefix."""

NONE = -1


class Tree:
    """All prefixes of one utterance that are alive, or that a live one begins with.

    Args:
        context: language model context in which the utterance begins.
        capacity: nodes at first; doubled only where the live ones need it.

    Attributes:
        nodes: int32 (capacity, COLUMNS).
        fused: float64 (capacity,), natural-log score from words: weighted language model, word and unknown scores,
            and complete phrases.
        count: int64 (1,), nodes in use.
    """

    def __init__(self, context: int, capacity: int = 1024) -> None:
        self.nodes: NDArray[np.int32] = np.zeros((capacity, COLUMNS), np.int32)
        self.fused: NDArray[np.float64] = np.zeros(capacity)
        self.count: NDArray[np.int64] = np.ones(1, np.int64)
        self.nodes[EMPTY] = (NONE, NONE, NONE, NONE, 0, 0, context, 0, 0)

    def sweep(self, beam: NDArray[np.int32], room: int) -> None:
        """Keeps what live hypotheses descend from, and grows where too little came free.

        Args:
            beam: int32 (hypotheses,), live nodes; renumbered in place.
            room: nodes that must be free afterwards.
        """
        kept = _sweep(self.nodes, self.fused, int(self.count[0]), beam)
        self.count[0] = kept
        while kept * 2 > len(self.nodes) or kept + room > len(self.nodes):
            self.nodes = np.concatenate([self.nodes, np.zeros_like(self.nodes)])
            self.fused = np.concatenate([self.fused, np.zeros_like(self.fused)])

    def tokens(self, node: int) -> NDArray[np.int32]:
        """The prefix that a node stands for, int32 (depth,)."""
        return _tokens(self.nodes, node)

    def common_prefix(self, beam: NDArray[np.int32]) -> int:
        """The longest prefix that all live hypotheses share, as a node."""
        return _common_prefix(self.nodes, beam)


@compiled
def _sweep(nodes: NDArray[np.int32], fused: NDArray[np.float64], count: int, beam: NDArray[np.int32]) -> int:
    # Parents have smaller numbers than their children, so one pass in order can move nodes to the front.
    moved = np.full(count, NONE, np.int32)
    moved[EMPTY] = EMPTY
    for slot in range(beam.size):
        node = beam[slot]
        while moved[node] == NONE:
            moved[node] = EMPTY
            node = nodes[node, PARENT]
    nodes[EMPTY, FIRST_CHILD] = NONE
    kept = 1
    for node in range(1, count):
        if moved[node] == NONE:
            continue
        moved[node] = kept
        nodes[kept] = nodes[node]
        fused[kept] = fused[node]
        parent = moved[nodes[kept, PARENT]]
        nodes[kept, PARENT] = parent
        nodes[kept, FIRST_CHILD] = NONE
        nodes[kept, NEXT_SIBLING] = nodes[parent, FIRST_CHILD]
        nodes[parent, FIRST_CHILD] = kept
        kept += 1
    for slot in range(beam.size):
        beam[slot] = moved[beam[slot]]
    return kept


@compiled
def _tokens(nodes: NDArray[np.int32], node: int) -> NDArray[np.int32]:
    tokens = np.empty(nodes[node, DEPTH], np.int32)
    for at in range(tokens.size - 1, -1, -1):
        tokens[at] = nodes[node, TOKEN]
        node = nodes[node, PARENT]
    return tokens


@compiled
def _common_prefix(nodes: NDArray[np.int32], beam: NDArray[np.int32]) -> int:
    common: int = beam[0]
    for slot in range(1, beam.size):
        other = beam[slot]
        while common != other:
            if nodes[common, DEPTH] >= nodes[other, DEPTH]:
                common = nodes[common, PARENT]
            else:
                other = nodes[other, PARENT]
    return common
