"""Finds and loads bundles. All hashes are checked before a byte of any file is used; nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import FORMAT, Card
from stenoflow.bundle.hashes import bundle_hash, bytes_hash, file_hash

CARD = "bundle.json"

MAX_CARD_BYTES = 1 << 20
"""A card is some kilobytes; whatever is larger is none."""

SUFFIXES = frozenset({".onnx", ".safetensors", ".txt", ".binary", ".arpa", ".json"})
"""Kinds of files that hold data only. Pickles (.pt, .bin, .ckpt, .npy …) can run code when they are loaded."""

_OF_KINDS = ("features", "acoustic")

RESTORE = "restore the bundle from where it came from (in a checkout: git checkout shared/models)"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Args:
        folder: where it lies.
        card: what it says of itself.
        hash: a short name of its whole content, for the worker registry.
    """

    folder: Path
    card: Card
    hash: str

    def __str__(self) -> str:
        return f"{self.card.name}@{self.hash}"

    def path(self, file: str) -> Path:
        """Where a listed file lies, for libraries that map it themselves.

        Raises:
            BundleError: the card does not list it.
        """
        if file not in self.card.files:
            raise BundleError("bundle_file_unlisted", f"{self.folder / CARD} does not list {file}; only listed files")
        return _inside(self.folder, file)

    def read(self, file: str) -> bytes:
        """A listed file's content, checked again: what is used is what was verified.

        Raises:
            BundleError: unlisted, unreadable, or changed since it was verified.
        """
        path = self.path(file)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from None
        if bytes_hash(content) != self.card.files[file]:
            raise _tampered(path)
        return content


def read_card(folder: Path) -> Card:
    """The card alone, for looking at: no file that it lists is verified.

    Raises:
        BundleError: the folder is no bundle, or of another format.
    """
    return _parse_card(folder / CARD, _read_card(folder / CARD))


def load_bundle(folder: Path) -> Bundle:
    """Reads the card and verifies every file that it lists.

    Raises:
        BundleError: the folder is no bundle, of another format, incomplete, changed, or unsafe; the message names
            the file and says what to do.
    """
    card_path = folder / CARD
    content = _read_card(card_path)
    card = _parse_card(card_path, content)
    for file, expected in card.files.items():
        path = _inside(folder, file)
        if not path.is_file():
            raise BundleError("bundle_file_missing", f"{path} is missing: {RESTORE}")
        try:
            found = file_hash(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        if found != expected:
            raise _tampered(path)
    return Bundle(folder, card, bundle_hash(content))


def find_bundle(name_or_path: str | Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of a bundle.

    A text with a slash in it, or a :class:`~pathlib.Path`, is a folder. A plain name is looked for in the folders of
    ``STENOFLOW_MODELS`` (separated by colons), in the user's own (``~/.local/share/stenoflow/models``), in a checkout's
    ``shared/models`` and in ``share/stenoflow/models`` of the Python environment.

    Raises:
        BundleError: there is none; the message says where it was looked for.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or os.sep in text:
        places = [Path(text)]
    else:
        places = [folder / text for folder in model_folders(environ)]
    for place in places:
        if text not in ("", ".", "..") and (place / CARD).is_file():
            return place
    looked = ", ".join(str(place / CARD) for place in places)
    raise BundleError(
        "bundle_not_found",
        f"there is no bundle {text!r} (looked for {looked}): give its folder, or the folder it lies in as "
        "STENOFLOW_MODELS",
    )


def model_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Where bundles are looked for by name, in order: the user's folders, then what ships."""
    return [*own_folders(environ), *_shipped_folders()]


def own_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Those of the user, where bundles are added and removed; the first takes what is new."""
    folders = [Path(part) for part in environ.get("STENOFLOW_MODELS", "").split(os.pathsep) if part]
    data = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME", ""), ".local", "share")  # noqa: PTH118
    if Path(data).is_absolute():
        folders.append(Path(data) / "stenoflow" / "models")
    return folders


def _shipped_folders() -> list[Path]:
    folders = []
    source_root = Path(__file__).resolve().parents[2]
    if source_root.name == "shared":
        folders.append(source_root / "models")
    return [*folders, Path(sys.prefix) / "share" / "stenoflow" / "models"]


def _read_card(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
    except FileNotFoundError:
        raise BundleError(
            "bundle_not_found", f"{path} is missing, so {path.parent} is no bundle: give its folder"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(content) > MAX_CARD_BYTES:
        raise BundleError("bundle_card_invalid", f"{path} is larger than {MAX_CARD_BYTES} bytes, so it is no card")
    return content


def _parse_card(path: Path, content: bytes) -> Card:
    try:
        fields: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise BundleError("bundle_card_invalid", f"{path} is not JSON: {RESTORE}") from None
    found = fields.get("format") if isinstance(fields, dict) else None
    if type(found) is not int or found != FORMAT:
        raise BundleError(
            "bundle_format",
            f"{path} is of format {found!r}, and this Stenoflow reads format {FORMAT}: use a matching pair",
        )
    try:
        return Card.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # Behind a part that is of several kinds stands the kind's name, which is no field.
        fields_only = [str(part) for at, part in enumerate(first["loc"]) if at != 1 or first["loc"][0] not in _OF_KINDS]
        where = ".".join(fields_only) or "the card"
        raise BundleError("bundle_card_invalid", f"{path}: {where}: {first['msg']}; correct the card") from None


def _inside(folder: Path, file: str) -> Path:
    """The path of a listed file, if it lies in the folder and is of a kind that holds data only."""
    plain = PurePosixPath(file)
    escapes = plain.is_absolute() or ".." in plain.parts or "\\" in file or "\0" in file or str(plain) != file
    path = folder / file if not escapes else folder
    if escapes or not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            "bundle_path", f"{folder / CARD} lists {file!r}, which leads out of the bundle: do not use it"
        )
    if plain.suffix not in SUFFIXES:
        raise BundleError(
            "bundle_file_kind",
            f"{folder / CARD} lists {file!r}; only {', '.join(sorted(SUFFIXES))} are loaded (others may run code): "
            "convert it",
        )
    return path


def _tampered(path: Path) -> BundleError:
    return BundleError("bundle_hash", f"{path} is not the file that the card names (sha256 differs): {RESTORE}")


def _unreadable(path: Path, error: OSError) -> BundleError:
    reason = os.strerror(error.errno or 0).lower()
    return BundleError("bundle_file_unreadable", f"{path} cannot be read ({reason}): check its permissions")
