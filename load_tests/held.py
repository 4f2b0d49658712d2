"""The held sets: their sound and texts (only where the training data lies beside the checkout)."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

SETS = ("held_libri", "held_libri_other", "held_commonvoice", "held_an4")


@dataclass(frozen=True, slots=True)
class Item:
    """One utterance: 16 kHz 16-bit PCM, what is said, who says it."""

    id: str
    speaker: str
    text: str
    pcm: bytes


def items(folder: Path, name: str, limit: int | None = None) -> Iterator[Item]:
    """The utterances of a held set.

    Args:
        folder: with ``<name>.tsv`` and ``<name>.tar``.
        name: of the set.
        limit: so many at most, evenly spread over the set.
    """
    with (folder / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    stride = max(1, len(rows) // limit) if limit else 1
    with tarfile.open(folder / f"{name}.tar") as archive:
        for row in rows[::stride]:
            member = archive.extractfile(row["file"])
            assert member is not None, row["file"]
            samples, rate = soundfile.read(io.BytesIO(member.read()), dtype="float32")
            step = rate // 16_000
            assert step * 16_000 == rate, f"{row['file']} has {rate} Hz"
            if step > 1:  # libsndfile decodes Opus at 48 kHz although its content was 16 kHz: nothing to alias
                samples = samples[::step]
            pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes()
            yield Item(row["id"], row["speaker"], row["text"], pcm)
