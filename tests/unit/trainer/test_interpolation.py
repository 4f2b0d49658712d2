"""Two language models made one: it must be the mixture where either lists an n-gram, and sum to 1 everywhere."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import kenlm
import pytest

from stenoflow_trainer.interpolation import BEGIN, END, NEVER, UNKNOWN, Arpa, best_share, interpolate

WORDS = ["yes", "no", "please"]


def model(sentences: list[str], unknown: float = 0.1) -> Arpa:
    """A bigram model: absolute discounting of 0.5, unigrams by count; sums to 1 by construction."""
    lines = [[BEGIN, *sentence.split(), END] for sentence in sentences]
    spoken = [word for line in lines for word in line[1:]]
    unigrams = {word: (1 - unknown) * spoken.count(word) / len(spoken) for word in sorted(set(spoken))} | {
        UNKNOWN: unknown
    }
    pairs = [pair for line in lines for pair in pairwise(line)]
    contexts = {first for first, _ in pairs}
    bigrams, weights = {}, {}
    for context in contexts:
        after = [second for first, second in pairs if first == context]
        told = {second: (after.count(second) - 0.5) / len(after) for second in after}
        bigrams |= {f"{context} {second}": probability for second, probability in told.items()}
        weights[context] = (1 - sum(told.values())) / (1 - sum(unigrams[second] for second in told))
    table = {
        word: (math.log10(p), math.log10(weights[word]) if word in weights else 0.0) for word, p in unigrams.items()
    }
    table[BEGIN] = NEVER, math.log10(weights[BEGIN])
    return Arpa([table, {ngram: (math.log10(p), 0.0) for ngram, p in bigrams.items()}])


GENERAL = model(["yes please", "no", "yes", "no no"])
DOMAIN = model(["refund please", "refund", "yes refund please"])


def total(mixed: Arpa, context: str) -> float:
    return sum(10 ** mixed.probability(context, word) for word in mixed.orders[0] if word != BEGIN)


@pytest.mark.parametrize("context", ["", BEGIN, "yes", "no", "please", "refund"])
def test_every_context_sums_to_one(context: str) -> None:
    assert total(GENERAL, "") == pytest.approx(1) and total(DOMAIN, "refund") == pytest.approx(1)
    assert total(interpolate(GENERAL, DOMAIN, 0.3), context) == pytest.approx(1, abs=1e-6)


def test_what_either_lists_has_the_mixture_of_both() -> None:
    mixed = interpolate(GENERAL, DOMAIN, 0.3)
    for first, second in [
        ("yes", "please"),
        ("yes", "refund"),
        ("no", "no"),
        (BEGIN, "yes"),
        (BEGIN, "no"),
        ("no", END),
    ]:
        general = 10 ** GENERAL.probability(first, second) if GENERAL.knows(second) else 0.0
        domain = 0.0
        if DOMAIN.knows(second):
            domain = 10 ** DOMAIN.probability(first if DOMAIN.knows(first) else "", second)
        assert 10 ** mixed.probability(first, second) == pytest.approx(0.7 * general + 0.3 * domain)


def test_kenlm_reads_what_is_written_and_so_do_we(tmp_path: Path) -> None:
    mixed = interpolate(GENERAL, DOMAIN, 0.5)
    mixed.write(tmp_path / "mixed.arpa")
    read = Arpa.read(tmp_path / "mixed.arpa")
    theirs = kenlm.Model(str(tmp_path / "mixed.arpa"))
    for sentence in ("yes please", "refund no please", "never heard yes"):
        ours = sum(math.log10(p) for p in read.of_words([sentence]))
        assert ours == pytest.approx(theirs.score(sentence, bos=True, eos=True), abs=1e-4)


def test_the_share_is_the_likeliest_one() -> None:
    weighed = best_share(GENERAL, DOMAIN, ["yes please", "refund", "no", "yes refund please"])
    assert 0 < weighed.share < 1
    assert weighed.mixture <= min(weighed.general, weighed.domain)
    for share in (weighed.share - 0.05, weighed.share + 0.05):
        pairs = zip(
            GENERAL.of_words(["yes please", "refund", "no", "yes refund please"]),
            DOMAIN.of_words(["yes please", "refund", "no", "yes refund please"]),
            strict=True,
        )
        logs = [math.log(share * d + (1 - share) * g) for g, d in pairs]
        assert weighed.mixture <= math.exp(-sum(logs) / len(logs))


def test_text_of_the_domain_alone_is_the_domain() -> None:
    assert best_share(GENERAL, DOMAIN, ["refund please"] * 5).share > 0.9
