"""Whether anything was lost or doubled: within a call, and against the same call undisturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer

from stenoflow.bus.records import Stages
from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.runtime.stage import Stage
from stenoflow.text.plain import plain_text


def tiles(finals: Sequence[Sequence[tuple[int, int, str]]], ended: wire.Ended | None, sent: Sequence[int]) -> str:
    """What is wrong with a call's finals, in words; empty where nothing is.

    Finals without words do not come to clients, so that they tile shows in the server's totals: all that was sent was
    received, and all that was received is final.

    Args:
        finals: begin, end and text of each, by track, as they came.
        ended: the server's totals.
        sent: samples of each track, as the client counts them.
    """
    if ended is None:
        return "the call never ended"
    for track, said in enumerate(finals):
        reached = 0
        for begin, end, _ in said:
            if begin < reached:
                return f"track {track}: a final begins at {begin}, before the last one's end {reached}"
            reached = end
    for line in ended.tracks:
        if line.received != sent[line.track]:
            return f"track {line.track}: {sent[line.track]} samples were sent, {line.received} received"
        if line.committed != line.received:
            return f"track {line.track}: {line.received} samples were received, {line.committed} are final"
    return ""


@dataclass(frozen=True, slots=True)
class Differences:
    """Words of a call against the same call undisturbed.

    Args:
        words: of the undisturbed one.
        lost: that are missing.
        doubled: that are too many.
        other: that stand where another stood.
    """

    words: int = 0
    lost: int = 0
    doubled: int = 0
    other: int = 0

    def __add__(self, more: Differences) -> Differences:
        return Differences(
            self.words + more.words, self.lost + more.lost, self.doubled + more.doubled, self.other + more.other
        )


def differences(undisturbed: Sequence[str], said: Sequence[str]) -> Differences:
    """Track by track."""
    total = Differences()
    for right, text in zip(undisturbed, said, strict=True):
        words = len(right.split())
        if not right:  # jiwer takes no empty reference
            total += Differences(doubled=len(text.split()))
            continue
        found = jiwer.process_words(right, text)
        total += Differences(words, found.deletions, found.insertions, found.substitutions)
    return total


def undisturbed(stages: Mapping[Stages, Stage[Any]], sounds: Sequence[Sound]) -> list[str]:
    """What a call says in one process, by track, plain."""
    said = list(transcribe(stages, sounds))
    return [
        plain_text(" ".join(each["text"] for each in said if each["type"] == "final" and each["track"] == number))
        for number in range(len(sounds))
    ]
