"""How much of a partial will not change any more: a promise, not a guess.

Every later hypothesis descends from one that is alive now, for a hypothesis that left the beam never comes back. So
the final begins with whatever all live hypotheses begin with. Its last word may still grow and is not promised.
"""

from __future__ import annotations

from stenoflow.alignment.vocabulary import Vocabulary
from stenoflow_decoder.search import BeamSearch


def stable_characters(search: BeamSearch, vocabulary: Vocabulary) -> int:
    """Characters at the start of ``search.best_text`` that its final will have, too: whole words, without the space.

    Args:
        search: the beam now; every hypothesis in it, the best as well, begins with what is promised.
        vocabulary: tells words apart.
    """
    tokens = search.common_tokens()
    if vocabulary.of_pieces:
        # The last word of what they share may still grow.
        words = [word for word, _ in vocabulary.words(tokens)]
        return len(" ".join(words[:-1]))
    separators = (tokens == vocabulary.separator).nonzero()[0]
    if separators.size == 0:
        return 0
    return len(vocabulary.text(tokens[: separators[-1]]))
