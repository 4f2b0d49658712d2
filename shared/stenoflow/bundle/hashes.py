"""Hashes of files and of whole bundles."""

from __future__ import annotations

import hashlib
from pathlib import Path

SHORT = 12
"""Hex digits that name a bundle in the worker registry."""


def file_hash(path: Path) -> str:
    """The file's sha256 in hex; raises ``OSError`` where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_hash(content: bytes) -> str:
    """The sha256 of some bytes in hex."""
    return hashlib.sha256(content).hexdigest()


def bundle_hash(card: bytes) -> str:
    """A short name for a bundle's whole content: its card holds the hash of every file."""
    return bytes_hash(card)[:SHORT]
