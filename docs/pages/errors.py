"""The page of errors: the codes that the source makes, each with its meaning from ``errors.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.pages.error_sources import Found, find
from docs.pages.tables import page, table

MEANINGS = Path(__file__).with_name("errors.toml")
BAD_INPUT = Path(__file__).with_name("bad_input.toml")

SECTIONS: Mapping[str, str] = {
    "In a session: `error`": "The gateway sends these in an `error` message and closes the socket. Only this one "
    "session is concerned. HTTP routes under `/v1` answer the same codes as JSON: 400, 401 and 403 for those of access "
    "and requests, 503 for those of Redis (`bus_…`).",
    "In a session: `warning`": "The gateway sends these in a `warning` message; the session goes on.",
    "In a client": "The Python client raises these itself, `stenoflow transcribe` among others.",
    "At start-up": "A service that cannot start says one of these on standard error and leaves with exit code 2. "
    "`stenoflow up` and `transcribe` pass them on.",
    "In a worker": "`log_gap` stands in the log of the worker that mends it; `no_free_slot` ends its worker with exit "
    "code 2, and others take its tracks.",
    "On the command line": "The commands of `stenoflow` say these and leave with exit code 2.",
    "In training": "`stenoflow-train` says these and leaves with exit code 2.",
}

INTRO = """
Every error has a stable code, and a sentence that says what to do. Programs go by the code; people read the sentence,
whose wording may change. *Retryable* means that the same request may succeed later, unchanged. Close codes of the
WebSocket are in [protocol.md](protocol.md).
"""


def meanings() -> Mapping[str, Mapping[str, str]]:
    """Code → ``example`` and ``do``."""
    return tomllib.loads(MEANINGS.read_text("utf-8"))


def bad_input() -> Sequence[Mapping[str, Any]]:
    """``what`` may come, what happens ``then``, with which ``codes``, and the ``tests`` that bring it."""
    inputs: Sequence[Mapping[str, Any]] = tomllib.loads(BAD_INPUT.read_text("utf-8"))["input"]
    return inputs


def make() -> str:
    """The page."""
    told, found = meanings(), find()
    parts = [_bad_input(found)]
    for section, text in SECTIONS.items():
        here = [each for each in found if section_of(each) == section]
        rows = [
            (
                f"`{code}`",
                "yes" if any(each.retryable for each in here if each.code == code) else "no",
                *_said(told[code]),
            )
            for code in told
            if any(each.code == code for each in here)
        ]
        parts.append(f"## {section}\n\n{text}\n\n" + table(("code", "retryable", "what to do", "for example"), rows))
    return page("Errors", INTRO, *parts)


def _bad_input(found: Sequence[Found]) -> str:
    retryable = {each.code for each in found if each.retryable}
    rows = [
        (
            each["what"],
            ", ".join(f"`{code}`" + (" (retryable)" if code in retryable else "") for code in each["codes"]) or "—",
            each["then"],
        )
        for each in bad_input()
    ]
    text = (
        "What was brought in tests, and what happens then; each of these has one or more (`docs/pages/bad_input.toml`)."
    )
    return f"## Bad input\n\n{text}\n\n" + table(("what comes", "code", "what happens"), rows)


def _said(meaning: Mapping[str, str]) -> tuple[str, str]:
    return meaning["do"], meaning["example"].replace("<", "&lt;").replace("*", "\\*")


def section_of(found: Found) -> str:
    """Where a reader meets it: by the kind of error, and by the folder of the code that makes it."""
    session, warning, client, start, worker, command_line, training = SECTIONS
    match found:
        case Found(kind="Warning"):
            return warning
        case Found(kind="LogGap" | "NoFreeSlotError"):
            return worker
        case Found(path="shared/stenoflow/protocol/client.py"):
            return client
        case Found(path=path) if path.startswith("services/stenoflow_trainer/"):
            return training
        case Found(path=path) if path.startswith("services/stenoflow_cli/"):
            return command_line
        case Found(kind="ConfigError" | "BundleError"):
            return start
        case _:
            return session
