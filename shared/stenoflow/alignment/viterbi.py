"""Where a text lies in its emissions: the likeliest CTC path of known tokens (Viterbi forced alignment).

Done once per utterance, when its text is decided: the beam then need not carry times for every hypothesis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stenoflow.alignment.compiled import compiled


@compiled
def align(log_probs: NDArray[np.float32], tokens: NDArray[np.int32], blank: int, separator: int) -> NDArray[np.int32]:
    """The token of every frame on the likeliest path.

    Args:
        log_probs: float32 (U, V), natural logarithms.
        tokens: int32 (L,), no separator at either end, no two in a row.
        blank: id of the blank.
        separator: id of the separator, or a negative number where there is none; before the first word, after
            one and at the end it counts as blank, as in the search.

    Returns:
        int32 (U,), the index into ``tokens`` that a frame speaks, or -1 between tokens. Ascending. All -1 where the
        frames are too few for the tokens.
    """
    frames, count = log_probs.shape[0], tokens.size
    states = 2 * count + 1  # even: nothing, before tokens[state // 2]; odd: tokens[state // 2]
    spoken = np.full(frames, -1, np.int32)
    if count == 0 or frames == 0:
        return spoken
    best = np.full(states, -np.inf)
    came_from = np.zeros((frames, states), np.uint8)  # how many states back
    for frame in range(frames):
        row = log_probs[frame]
        for state in range(states - 1, -1, -1):
            at = state // 2
            if state % 2 == 1:
                emitted = row[tokens[at]]
            elif at == 0 or at == count or tokens[at - 1] == separator:
                emitted = max(row[blank], row[separator]) if separator >= 0 else row[blank]
            else:
                emitted = row[blank]
            if frame == 0:
                best[state] = emitted if state < 2 else -np.inf
                continue
            score, back = best[state], 0
            if state >= 1 and best[state - 1] > score:
                score, back = best[state - 1], 1
            # a token may follow another at once, except its like
            if state % 2 == 1 and at >= 1 and tokens[at] != tokens[at - 1] and best[state - 2] > score:
                score, back = best[state - 2], 2
            best[state] = score + emitted
            came_from[frame, state] = back
    state = states - 1 if best[states - 1] >= best[states - 2] else states - 2
    if best[state] == -np.inf:
        return spoken
    for frame in range(frames - 1, -1, -1):
        if state % 2 == 1:
            spoken[frame] = state // 2
        state -= came_from[frame, state]
    return spoken
