"""A bundle before it is one: what its card will say and which files it takes; and writing it down."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import FORMAT, NAME
from stenoflow.bundle.hashes import file_hash
from stenoflow.bundle.loading import CARD, Bundle, load_bundle
from stenoflow_acoustic.adding.words import Words


@dataclass(frozen=True, slots=True)
class Draft:
    """What was found in a source.

    Args:
        description: a sentence.
        version: of the source, where it says one.
        licence: where it says one.
        features: that part of the card, and so on.
        files: by name in the bundle, where they come from, or what they hold.
    """

    description: str
    features: Mapping[str, Any]
    acoustic: Mapping[str, Any]
    tokens: Mapping[str, Any]
    files: Mapping[str, Path | bytes]
    version: str = "1"
    licence: str = "not stated: see where the model came from"


SOUND_ALONE = {"lm_weight": 0.0, "word_score": 0.0, "unknown_score": 0.0}
WITH_WORDS = {"lm_weight": 0.5, "word_score": 1.0, "unknown_score": -5.0}
"""Where to begin; tune them on sound of your own."""

BEAM_WIDTH = 16


def plain_name(source: str) -> str:
    """A bundle's name from a file's, a folder's or a model's on Hugging Face."""
    name = re.sub(r"[^a-z0-9._-]+", "-", source.lower()).strip("._-")[:64]
    return name or "model"


def write(draft: Draft, folder: Path, name: str, language: str, words: Words) -> Bundle:
    """Writes ``folder/name``, whole or not at all, and verifies it.

    Raises:
        BundleError: the name cannot be one, is taken, or what was found makes no bundle.
    """
    if not re.match(NAME, name):
        raise BundleError("bundle_name", f"{name!r} cannot be a bundle's name: it must match {NAME}; give --name")
    target = folder / name
    if target.exists():
        raise BundleError("bundle_exists", f"{target} is there already: remove it first, or give another --name")
    files: dict[str, Path | bytes] = dict(draft.files)
    lexicon = words.lexicon_of(draft.tokens)
    decoder: dict[str, Any] = {"beam_width": BEAM_WIDTH, **(SOUND_ALONE if lexicon is None else WITH_WORDS)}
    if words.language_model is not None:
        decoder["language_model"] = words.language_model_name
        files[words.language_model_name] = words.language_model
    if lexicon is not None:
        decoder["lexicon"] = "lexicon.txt"
        files["lexicon.txt"] = lexicon
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as temporary:
        made = Path(temporary) / name
        made.mkdir()
        for file, content in files.items():
            if isinstance(content, bytes):
                (made / file).write_bytes(content)
            else:
                shutil.copyfile(content, made / file)
        card = {
            "format": FORMAT,
            "name": name,
            "version": draft.version,
            "language": language,
            "description": draft.description,
            "licences": [draft.licence],
            "features": dict(draft.features),
            "acoustic": dict(draft.acoustic),
            "tokens": dict(draft.tokens),
            "decoder": {**decoder, **words.options},
            "measured": [],
            "files": {file: file_hash(made / file) for file in files},
        }
        (made / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
        load_bundle(made)
        os.replace(made, target)  # noqa: PTH105
    return load_bundle(target)
