"""Two n-gram models made one: p(w | h) = share * domain(w | h) + (1 - share) * general(w | h).

Static linear interpolation as SRILM's ``ngram -mix-lm`` does it (Stolcke 2002): every n-gram that either model lists
gets the mixture's probability, then the back-off weights are made anew, so that every context sums to 1. The share is
the likeliest one for lines of the domain that were kept out of counting (EM; Jelinek and Mercer 1980).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0
"""The ARPA format's log10 probability of what cannot come, ``<s>`` above all."""
LEAST_LEFT = 1e-8
ROUNDS = 50


class Arpa:
    """A back-off model: by order, what each n-gram (words joined by spaces) has; log10.

    Args:
        orders: one table an order, ``n-gram: (probability, back-off weight)``.
    """

    def __init__(self, orders: list[dict[str, tuple[float, float]]]) -> None:
        self.orders = orders

    @classmethod
    def read(cls, path: Path) -> Arpa:
        """Reads an ARPA file."""
        orders: list[dict[str, tuple[float, float]]] = []
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("\\") and line.endswith("-grams:\n"):
                    orders.append({})
                elif orders and (cells := line.rstrip("\n").split("\t"))[1:]:
                    orders[-1][cells[1]] = float(cells[0]), float(cells[2]) if cells[2:] else 0.0
        return cls(orders)

    def write(self, path: Path) -> None:
        """Writes an ARPA file."""
        with path.open("w", encoding="utf-8") as file:
            file.write("\\data\\\n")
            file.writelines(f"ngram {order}={len(table)}\n" for order, table in enumerate(self.orders, start=1))
            for order, table in enumerate(self.orders, start=1):
                file.write(f"\n\\{order}-grams:\n")
                last = order == len(self.orders)
                for ngram, (probability, weight) in table.items():
                    file.write(f"{probability:.6f}\t{ngram}" + ("\n" if last else f"\t{weight:.6f}\n"))
            file.write("\n\\end\\\n")

    def knows(self, word: str) -> bool:
        """Whether the word has a probability of its own."""
        return word in self.orders[0]

    def probability(self, context: str, word: str) -> float:
        """log10 p(word | context); the context has less words than the model's order, or none."""
        weight = 0.0
        while context:
            words = context.count(" ") + 1
            found = self.orders[words].get(f"{context} {word}")
            if found is not None:
                return weight + found[0]
            weight += self.orders[words - 1].get(context, (NEVER, 0.0))[1]
            context = context.partition(" ")[2]
        return weight + self.orders[0].get(word, self.orders[0][UNKNOWN])[0]

    def of_words(self, lines: Iterable[str]) -> Iterator[float]:
        """p of every word of the lines and of every line's end, linear."""
        for line in lines:
            words = [BEGIN, *line.split(), END]
            for at in range(1, len(words)):
                known = [
                    word if self.knows(word) else UNKNOWN for word in words[max(0, at - len(self.orders) + 1) : at]
                ]
                word = words[at] if self.knows(words[at]) else UNKNOWN
                yield 10 ** self.probability(" ".join(known), word)


@dataclass(frozen=True, slots=True)
class Share:
    """The domain's share, and perplexities of the lines that it was found on."""

    share: float
    general: float
    domain: float
    mixture: float


def best_share(general: Arpa, domain: Arpa, lines: Sequence[str]) -> Share:
    """The share of the domain under which ``lines`` are likeliest.

    Raises:
        ValueError: there is no line.
    """
    pairs = list(zip(general.of_words(lines), domain.of_words(lines), strict=True))
    if not pairs:
        raise ValueError("no lines to weigh the models by")
    share = 0.5
    for _ in range(ROUNDS):
        share = sum(share * d / (share * d + (1 - share) * g) for g, d in pairs) / len(pairs)

    def perplexity(part: float) -> float:
        return math.exp(-sum(math.log(part * d + (1 - part) * g) for g, d in pairs) / len(pairs))

    return Share(share, perplexity(0.0), perplexity(1.0), perplexity(share))


def interpolate(general: Arpa, domain: Arpa, share: float) -> Arpa:
    """The mixture, as one back-off model of the higher order of the two.

    Args:
        share: of the domain, in (0, 1).
    """
    models = ((general, 1 - share), (domain, share))
    order = max(len(general.orders), len(domain.orders))
    mixed = Arpa([{} for _ in range(order)])
    for size in range(order):
        tables = [model.orders[size] for model, _ in models if size < len(model.orders)]
        for ngram in dict.fromkeys(ngram for table in tables for ngram in table):
            context, _, word = ngram.rpartition(" ")
            total = sum(part * _within(model, context, word) for model, part in models)
            mixed.orders[size][ngram] = math.log10(total) if total > 0 and ngram != BEGIN else NEVER, 0.0
        if size:
            _weigh(mixed, size)
    return mixed


def _within(model: Arpa, context: str, word: str) -> float:
    """p(word | context), linear; a word that the model does not list cannot come."""
    if not model.knows(word):
        return 0.0
    while context.count(" ") + 2 > len(model.orders):
        context = context.partition(" ")[2]
    return 10 ** model.probability(context, word)


def _weigh(mixed: Arpa, size: int) -> None:
    """Back-off weights of contexts of ``size`` words: what their n-grams leave over what the shorter one does."""
    told: dict[str, float] = {}
    told_shorter: dict[str, float] = {}
    for ngram, (probability, _) in mixed.orders[size].items():
        context, _, word = ngram.rpartition(" ")
        told[context] = told.get(context, 0.0) + 10**probability
        shorter = 10 ** mixed.probability(context.partition(" ")[2], word)
        told_shorter[context] = told_shorter.get(context, 0.0) + shorter
    contexts = mixed.orders[size - 1]
    for context, listed in told.items():
        left, left_shorter = max(1 - listed, LEAST_LEFT), max(1 - told_shorter[context], LEAST_LEFT)
        probability = contexts.get(context, (NEVER, 0.0))[0]
        contexts[context] = probability, math.log10(left / left_shorter)
