"""How many tracks the whole stack carries with its second pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from load_tests.outcomes import outcomes_of_workers, told
from load_tests.rungs import (
    FULL_LADDER,
    WORD_PROMISE_S,
    climb,
    console,
    pair,
    progress,
    speak,
    split,
    table,
    values,
)
from load_tests.speakers import Heard, clip_sounds, percentile, two_sided
from stenoflow_cli.up import Stack, running_stack

MEASURES = ("early", "word", "final")
"""A word that only the second pass has right is shown by its final, however early it was said in the utterance: p95 of
`word` is then a matter of the utterances' length. So the promise is judged by `early`."""
LEAST_HEARD = 0.95
"""Of the utterances with words: so many are heard again in time, whether or not the guard takes what is heard."""


class Promise:
    """What a rung must keep: p95 of words that the first pass has right near its floor, and utterances heard again."""

    def __init__(self) -> None:
        self.floor_s: dict[str, float] = {}

    def in_time(self, heard: Sequence[Heard], name: str) -> bool:
        """Whether p95 of a measure is within 300 ms of its floor; the first rung sets the floor."""
        p95 = percentile(values(heard, name), 0.95)
        return p95 <= self.floor_s.setdefault(name, p95) + WORD_PROMISE_S

    def kept(self, heard: Sequence[Heard], counted: Counter[str]) -> bool:
        """Whether a rung does.

        Args:
            heard: its calls.
            counted: the second pass's outcomes in it.
        """
        # Of all finals, not of what the second pass got to see: a call for which it had no place goes without.
        finals, again = sum(len(one.passes) for one in heard), counted.total() - counted["unheard"]
        often = finals > 0 and again >= LEAST_HEARD * finals
        return self.in_time(heard, "early") and often and not any(one.refused for one in heard)


def share_of_second_pass(heard: Sequence[Heard]) -> float:
    """Of the finals that have words, those heard again; 0 where there is none."""
    passes = [each for one in heard for each in one.passes]
    return passes.count(2) / len(passes) if passes else 0.0


async def capacity(model: str, limit: int | None, seconds: float) -> None:
    """Prints the ladder.

    Args:
        model: of the second pass.
        limit: rungs that are tried; None for all.
        seconds: length of a rung.
    """
    rows = table(
        f"Whole pipeline, en-small and {model}: two-sided calls of real speech, each side speaking half of the time",
        *("tracks", *(f"{name} p50/p95 ms" for name in MEASURES)),
        *("early share", "from pass 2", "why not", "word ok", "CPU ms a track-second", "refused"),
    )
    promise = Promise()
    clips = clip_sounds()
    async with running_stack(Stack(port=0, second_pass=model), console) as stack:

        async def rung(tracks: int) -> bool:
            sounds = [two_sided(clips, seed, seconds) for seed in range(tracks // 2)]
            before = outcomes_of_workers(stack.logs)
            with progress() as bar:
                bar.add_task(f"capacity: {tracks} tracks", total=None)
                heard, cost = await speak(stack.stream_url, stack.redis, tracks, sounds)
            counted = outcomes_of_workers(stack.logs) - before
            finals = [each for one in heard for each in one.passes]
            rows.add_row(
                str(tracks),
                *(pair(values(heard, name), 0.95, 1000) for name in MEASURES),
                f"{100 * len(values(heard, 'early')) / max(1, len(values(heard, 'word'))):.0f} %",
                f"{100 * share_of_second_pass(heard):.1f} % of {len(finals)}",
                told(counted),
                "yes" if promise.in_time(heard, "word") else "no",
                split(cost, tracks * seconds),
                str(sum(bool(one.refused) for one in heard)),
            )
            return promise.kept(heard, counted)

        kept = await climb(FULL_LADDER[:limit], rung)
    console.print(rows)
    floors = ", ".join(f"{name} {1000 * floor:.0f} ms" for name, floor in promise.floor_s.items())
    console.print(
        f"tracks with p95 of `early` (words that a caption before the final had right) within "
        f"{WORD_PROMISE_S * 1000:.0f} ms of its floor and {100 * LEAST_HEARD:.0f} % of utterances heard again in time: "
        f"[bold]{kept}[/]. Floors (one call): {floors}; `word ok` judges all words so."
    )
