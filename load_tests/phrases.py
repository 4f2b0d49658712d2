"""What phrases of a session do to both passes: the gain on sentences with rare names, the harm on the others.

Rare are words that the bundle's lexicon lacks: names, mostly. A session's phrases are some of these; what is said holds
one of them, or none. The first pass is the whole pipeline in process, whose search is given them; of second passes only
models that can be prompted change anything (Whisper).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import jiwer
import numpy as np

from load_tests.held import Item, items
from load_tests.rungs import console, progress, table
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow.text.plain import plain_text
from stenoflow_cli.stages import all_stages
from stenoflow_second_pass.models.base import SpeechModel
from stenoflow_second_pass.models.choice import load_model

BUNDLE = "en-small"
SET = "held_libri"
OTHERS = (4, 19)
"""So many phrases of a session are not said in the utterance: 5 and 20 in all."""
LONGEST_S = 30
"""Whisper hears no more at once."""
SEED = 5

Read = Callable[[Item, Sequence[str]], str]
"""What is understood of an utterance by a session with these phrases."""


def phrases(speech: Path, model: str, limit: int) -> None:
    """Rare words found and word error rates with and without phrases, of the first pass and of a second.

    Args:
        speech: folder with the held sets.
        model: of the second pass; one that takes a prompt.
        limit: utterances of each kind.
    """
    if not speech.is_dir():
        console.print(f"SKIPPED phrases: no held sets at {speech}")
        return
    bundle = load_bundle(find_bundle(BUNDLE))
    assert bundle.card.decoder.lexicon is not None
    known = set(bundle.path(bundle.card.decoder.lexicon).read_text("utf-8").split())
    every = [item for item in items(speech, SET) if len(item.pcm) / 2 / SAMPLE_RATE <= LONGEST_S]
    rare = {item.id: [word for word in plain_text(item.text).split() if word not in known] for item in every}
    names = sorted({word for words in rare.values() for word in words})
    with_rare = [item for item in every if rare[item.id]][:limit]
    without = [item for item in every if not rare[item.id]][:: max(1, len(every) // limit)][:limit]
    readers = {f"first pass ({BUNDLE})": _first_pass(), f"{model} alone": _prompted(load_model(model, "cpu"))}
    rows = table(
        f"Phrases of a session: {SET}, whole utterances; {len(names)} words that the lexicon lacks",
        *("read by", "sentences", "phrases", "rare words found", "WER %"),
    )
    with progress() as bar:
        for (name, read), (kind, chosen), others in itertools.product(
            readers.items(), (("with rare words", with_rare), ("without", without)), (None, *OTHERS)
        ):
            said = [
                plain_text(read(item, _expected(rare[item.id], names, others)))
                for item in bar.track(chosen, description=f"{name}, {kind}, {others or 0} others")
            ]
            wanted = [(word, text) for item, text in zip(chosen, said, strict=True) for word in rare[item.id]]
            found = sum(word in text.split() for word, text in wanted)
            rows.add_row(
                name,
                f"{len(chosen)} {kind}",
                "none" if others is None else f"{others} others" + (" and those said" if kind != "without" else ""),
                f"{found} of {len(wanted)}" if wanted else "",
                f"{100 * jiwer.wer([plain_text(item.text) for item in chosen], said):.1f}",
            )
    console.print(rows)


def _expected(said: Sequence[str], names: Sequence[str], others: int | None) -> list[str]:
    """The session's phrases in no order that tells which is said; none where not even others are wanted."""
    if others is None:
        return []
    draw = random.Random(f"{SEED} {' '.join(said)} {others}")
    chosen = [*said, *draw.sample([name for name in names if name not in said], min(others, len(names) - len(said)))]
    draw.shuffle(chosen)
    return [name.capitalize() for name in chosen]


def _first_pass() -> Read:
    stages = all_stages(BUNDLE)

    def read(item: Item, expected: Sequence[str]) -> str:
        settings = {"boost": [{"phrase": phrase} for phrase in expected]}
        messages = transcribe(stages, [Sound("one", SAMPLE_RATE, item.pcm)], settings=settings)
        return " ".join(each["text"] for each in messages if each["type"] == "final")

    return read


def _prompted(model: SpeechModel) -> Read:
    def read(item: Item, expected: Sequence[str]) -> str:
        sound = np.frombuffer(item.pcm, "<i2").astype(np.float32) / np.float32(32768)
        return model.read([sound], [", ".join(expected)])[0].text

    return read
