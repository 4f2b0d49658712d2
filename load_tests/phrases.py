"""What phrases of a session do to the second pass: the gain on sentences with rare names, the harm on the others.

Rare are words that the bundle's lexicon lacks: names, mostly. A session's phrases are some of these; what is said holds
one of them, or none. Only models that can be prompted change anything (Whisper).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import jiwer
import numpy as np

from load_tests.held import Item, items
from load_tests.rungs import console, progress, table
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.text.plain import plain_text
from stenoflow_second_pass.models.base import SpeechModel
from stenoflow_second_pass.models.choice import load_model

SET = "held_libri"
OTHERS = (4, 19)
"""So many phrases of a session are not said in the utterance: 5 and 20 in all."""
SEED = 5


def phrases(speech: Path, model: str, limit: int) -> None:
    """Rare words found and word error rates with and without phrases.

    Args:
        speech: folder with the held sets.
        model: of the second pass; one that takes a prompt.
        limit: utterances of each kind.
    """
    if not speech.is_dir():
        console.print(f"SKIPPED phrases: no held sets at {speech}")
        return
    bundle = load_bundle(find_bundle("en-small"))
    known = set(bundle.path(bundle.card.decoder.lexicon).read_text("utf-8").split())
    every = list(items(speech, SET))
    rare = {item.id: [word for word in plain_text(item.text).split() if word not in known] for item in every}
    names = sorted({word for words in rare.values() for word in words})
    with_rare = [item for item in every if rare[item.id]][:limit]
    without = [item for item in every if not rare[item.id]][:: max(1, len(every) // limit)][:limit]
    reader = load_model(model, "cpu")
    rows = table(
        f"Phrases as a prompt of {model}: {SET}, whole utterances; {len(names)} words that the lexicon lacks",
        *("sentences", "phrases", "rare words found", "WER %"),
    )
    with progress() as bar:
        for kind, chosen in (("with rare words", with_rare), ("without", without)):
            for others in (None, *OTHERS):
                prompts = [_prompt(rare[item.id], names, others) for item in chosen]
                said = [
                    plain_text(_read(reader, item, prompt))
                    for item, prompt in bar.track(
                        list(zip(chosen, prompts, strict=True)), description=f"{kind}, {others or 0} others"
                    )
                ]
                wanted = [word for item in chosen for word in rare[item.id]]
                found = sum(
                    word in text.split() for item, text in zip(chosen, said, strict=True) for word in rare[item.id]
                )
                rows.add_row(
                    f"{len(chosen)} {kind}",
                    "none" if others is None else f"{others} others" + (" and those said" if kind != "without" else ""),
                    f"{found} of {len(wanted)}" if wanted else "",
                    f"{100 * jiwer.wer([plain_text(item.text) for item in chosen], said):.1f}",
                )
    console.print(rows)


def _prompt(said: Sequence[str], names: Sequence[str], others: int | None) -> str:
    """The session's phrases in no order that tells which is said; empty without any."""
    if others is None:
        return ""
    draw = random.Random(f"{SEED} {' '.join(said)} {others}")
    chosen = [*said, *draw.sample([name for name in names if name not in said], min(others, len(names) - len(said)))]
    draw.shuffle(chosen)
    return ", ".join(name.capitalize() for name in chosen)


def _read(reader: SpeechModel, item: Item, prompt: str) -> str:
    sound = np.frombuffer(item.pcm, "<i2").astype(np.float32) / np.float32(32768)
    return reader.read([sound], [prompt])[0].text
