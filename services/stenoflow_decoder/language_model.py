"""The word language model: a port with two methods, and an adapter for each library that can read KenLM files.

Libraries speak log10; everything on this side of the port is a natural logarithm. ``kenlm`` is taken where it is
installed (0.7 µs a word, a source build), else ``flashlight-text``'s copy of it (a wheel, 3.11 and 3.12 only), as in
the images. Scores are the same; but only ``kenlm`` tells which histories score alike, so a few hypotheses more stay
apart with the other, and now and then another reading wins. Workers that share tracks should have the same.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from stenoflow.base.errors import BundleError, ConfigError

State = TypeVar("State")

LN_10 = math.log(10.0)

GZIP = b"\x1f\x8b"
MAGIC = b"mmap lm http://kheafield.com/code format version"
ORDER_AT = 88
"""Where a KenLM binary says its order: behind magic and sanity numbers (its ``lm/binary_format.cc``, version 5)."""


class LanguageModel(Protocol[State]):
    """An n-gram over words. States are immutable and belong to the model that gave them."""

    order: int
    """Length of the longest n-gram; ``order - 1`` previous words decide a score."""

    def start(self, previous: Sequence[str]) -> State:
        """The state after the given words; with none, the start of a sentence."""
        ...

    def anywhere(self) -> State:
        """The state that knows nothing of what came before (for unigram scores)."""
        ...

    def score(self, state: State, word: str) -> tuple[State, float]:
        """The state after ``word``, and its natural-log probability, 0 or less; unknown words have one, too."""
        ...

    def alike(self, state: State) -> Hashable | None:
        """Equal for states after which every word scores the same; None where the library cannot tell."""
        ...


class NoLanguageModel:
    """Says nothing about words: for bundles without an n-gram, and for tests of the search alone."""

    order = 1

    def start(self, previous: Sequence[str]) -> None:
        """The only state."""

    def anywhere(self) -> None:
        """The only state."""

    def score(self, state: None, word: str) -> tuple[None, float]:
        """Zero for every word."""
        return None, 0.0

    def alike(self, state: None) -> Hashable:
        """There is but one."""
        return 0


class KenLm:
    """KenLM by its own Python package."""

    def __init__(self, path: Path) -> None:
        import kenlm  # type: ignore[import-not-found, unused-ignore]

        self._new_state = kenlm.State
        try:
            self._model = kenlm.Model(str(path))
        except OSError as error:
            raise _unreadable(path, error) from None
        self.order: int = self._model.order

    def start(self, previous: Sequence[str]) -> Any:
        """As the port says; after words the state is theirs alone, without the sentence's start before them."""
        state = self._new_state()
        if not previous:
            self._model.BeginSentenceWrite(state)
            return state
        self._model.NullContextWrite(state)
        for word in previous:
            state, _ = self.score(state, word)
        return state

    def anywhere(self) -> Any:
        """As the port says."""
        state = self._new_state()
        self._model.NullContextWrite(state)
        return state

    def score(self, state: Any, word: str) -> tuple[Any, float]:
        """As the port says."""
        following = self._new_state()
        return following, self._model.BaseScore(state, word, following) * LN_10

    def alike(self, state: Any) -> Hashable:
        """KenLM's states hold only as many words as still matter, and compare by them."""
        key: Hashable = state
        return key


class FlashlightLm:
    """KenLM inside ``flashlight-text``. It wants all words beforehand; others are unknown to it.

    Args:
        path: ARPA or KenLM binary.
        words: every word that will be asked for.
    """

    def __init__(self, path: Path, words: Sequence[str]) -> None:
        from flashlight.lib.text import dictionary  # type: ignore[import-untyped, unused-ignore]
        from flashlight.lib.text.decoder import kenlm  # type: ignore[import-untyped, unused-ignore]

        self._index = {word: index for index, word in enumerate(dict.fromkeys(("<unk>", *words)))}
        self._dictionary = dictionary.Dictionary()
        for word in self._index:
            self._dictionary.add_entry(word)
        self._dictionary.set_default_index(0)
        try:
            self._model = kenlm.KenLM(str(path), self._dictionary)
        except (OSError, RuntimeError) as error:
            raise _unreadable(path, error) from None
        self.order = order_of(path)

    def start(self, previous: Sequence[str]) -> Any:
        """As the port says."""
        if not previous:
            return self._model.start(False)
        state = self._model.start(True)
        for word in previous:
            state, _ = self.score(state, word)
        return state

    def anywhere(self) -> Any:
        """As the port says."""
        return self._model.start(True)

    def score(self, state: Any, word: str) -> tuple[Any, float]:
        """As the port says."""
        following, log10 = self._model.score(state, self._index.get(word, 0))
        return following, log10 * LN_10

    def alike(self, state: Any) -> None:
        """The library does not tell."""


def order_of(path: Path) -> int:
    """Length of the longest n-gram in a KenLM binary or an ARPA file, which may be in gzip."""
    with path.open("rb") as file:
        head = file.read(ORDER_AT + 1)
    if head.startswith(MAGIC):
        return head[ORDER_AT]
    with gzip.open(path) if head.startswith(GZIP) else path.open("rb") as lines:
        counts = itertools.takewhile(lambda line: not line.startswith(b"\\1-grams:"), lines)
        return sum(line.startswith(b"ngram ") for line in counts)


def load_language_model(path: Path, words: Sequence[str]) -> LanguageModel[Any]:
    """Opens a KenLM file by whichever library is installed.

    Args:
        path: ARPA or KenLM binary.
        words: the lexicon.

    Raises:
        BundleError: the file is missing or damaged.
        ConfigError: neither library is installed.
    """
    if not path.is_file():
        raise BundleError("language_model_missing", f"the language model {path} does not exist")
    if importlib.util.find_spec("kenlm") is not None:
        return KenLm(path)
    if importlib.util.find_spec("flashlight") is not None:
        return FlashlightLm(path, words)
    raise ConfigError(
        "no_language_model_library",
        "the bundle has an n-gram, but neither kenlm nor flashlight-text is installed: "
        "pip install 'stenoflow[decoder]' (Python 3.11, 3.12) or 'stenoflow[kenlm]'",
    )


def _unreadable(path: Path, error: Exception) -> BundleError:
    return BundleError("language_model_damaged", f"the language model {path} cannot be read: {error}")
