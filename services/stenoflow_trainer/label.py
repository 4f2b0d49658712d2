"""Texts for recordings that nobody transcribed, by a model that hears each as a whole: sequence-level distillation.

Kim and Rush 2016, "Sequence-level knowledge distillation"; for speech: Kahn et al. 2020, "Self-training for end-to-end
speech recognition". What looks invented is left out, by the rules of the second pass.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from stenoflow.text.plain import plain_text
from stenoflow_second_pass.guard import refusal
from stenoflow_second_pass.models.base import SpeechModel
from stenoflow_trainer import data

COLUMNS = ("path", "text", "speaker", "seconds")


def label(
    utterances: Iterable[data.Utterance],
    read: Callable[[data.Utterance], data.Samples],
    model: SpeechModel,
    out: Path,
) -> Counter[str]:
    """Writes a list of recordings with texts; those of people stay.

    Args:
        utterances: of one's own list (`data.read_own_manifest`).
        read: samples of one of them.
        model: hears them.
        out: the list, tab-separated, paths as they were.

    Returns:
        how many have a text by ``human`` or by ``model``, and how many were left out, by reason.
    """
    counts: Counter[str] = Counter()
    with out.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        table.writerow(COLUMNS)
        for one in utterances:
            text = one.text
            if text:
                counts["human"] += 1
            elif one.seconds > data.LONGEST_S:
                counts["too long"] += 1
            else:
                samples = read(one)
                [reading] = model.read([samples], [""])
                reason = refusal(reading, plain_text(reading.text), len(samples) / data.SAMPLE_RATE)
                counts[reason.value if reason else "model"] += 1
                text = "" if reason else plain_text(reading.text)
            if text:
                table.writerow([one.file, text, one.speaker, f"{one.seconds:.2f}"])
    return counts
