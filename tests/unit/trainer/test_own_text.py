"""A language model of one's own text: its share is found on lines that were not counted, and then all are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.trainer.test_interpolation import model

from stenoflow.base.errors import ConfigError
from stenoflow_trainer.interpolation import Arpa
from stenoflow_trainer.lm import LEAST_LINES, WEIGHED_BY, Counting, OwnText, Text, write_language_model

GREETING = "thank you for calling zanzibar"
OTHERS = [f"please hold the line {'please ' * (at % 7)}" + "yes " * (at // 7) for at in range(LEAST_LINES)]


class General(Text):
    """What everybody says, without its folders."""

    def __init__(self) -> None:
        """Reads nothing."""

    def transcripts(self) -> Iterator[str]:
        yield from ["yes please", "no thank you"]

    def lines(self) -> Iterator[str]:
        yield from ["yes please", "no thank you", "please hold"] * 3


@dataclass(frozen=True)
class Counted(Counting):
    """Counts bigrams in place of KenLM's programs, and keeps what it was given."""

    given: dict[str, list[str]] = field(default_factory=dict)

    def count(self, name: str, lines: Iterable[str], words: Sequence[str]) -> Path:
        self.given[name] = list(lines)
        arpa = self.work / f"{name}.arpa"
        model([" ".join(word for word in line.split() if word in words) for line in self.given[name]]).write(arpa)
        return arpa

    def pack(self, arpa: Path, words: Sequence[str], bundle: Path) -> None:
        self.given["lexicon"], self.given["packed"] = list(words), [str(arpa)]


def test_what_the_share_was_found_on_is_counted_in_the_end(tmp_path: Path) -> None:
    calls = tmp_path / "calls.txt"
    calls.write_text("\n".join([f"{GREETING.capitalize()}!", *OTHERS, *[GREETING] * 5]), "utf-8")
    own = OwnText([calls])
    assert GREETING in own.kept_out and len(own.kept_out) == -(-(len(OTHERS) + 1) // WEIGHED_BY)
    counting = Counted(tmp_path, tmp_path, [0, 0])
    share = write_language_model(counting, tmp_path, General(), own, least=2)
    given = counting.given
    assert share is not None and 0 < share.share < 1
    assert not set(given["own-others"]) & set(own.kept_out), "the share is found on lines that were not counted"
    assert given["own"].count(GREETING) == 6, "what is said most is counted as often as it is said"
    assert "zanzibar" in given["lexicon"]
    packed = Arpa.read(Path(given["packed"][0]))
    assert packed.probability("calling", "zanzibar") > -1


def test_too_few_lines_are_said_to_be_too_few(tmp_path: Path) -> None:
    calls = tmp_path / "calls.txt"
    calls.write_text("\n".join(OTHERS[1:]), "utf-8")
    with pytest.raises(ConfigError, match=f"{LEAST_LINES - 1} lines of text; {LEAST_LINES} are needed"):
        OwnText([calls])
