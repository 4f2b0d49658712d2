"""The page of the native protocol: order of a session, binary frames, every message, close codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.pages.asyncapi import client_messages, name_of, server_messages
from docs.pages.fields import default_in_words, is_list, limits_in_words, model_in, type_in_words
from docs.pages.tables import attribute_docs, code, page, prose, table
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stenoflow.base.positions import CLIENT_RATES, SAMPLE_RATE
from stenoflow.protocol import client, frames
from stenoflow.protocol import messages as wire
from stenoflow_features.quality import HINTS
from stenoflow_gateway.access import tickets
from stenoflow_gateway.session import base as session_base
from stenoflow_gateway.session import machine as session
from stenoflow_gateway.session.events import BUG, Code
from stenoflow_gateway.sockets import outbox

EXAMPLES = Path(__file__).resolve().parents[2] / "tests" / "wire" / "examples"
PROSE = Path(__file__).with_name("protocol.md")
"""What no definition says: the order of a session. Names in double braces are filled in from :data:`NUMBERS`."""

NUMBERS: Mapping[str, str] = {
    "subprotocol": wire.SUBPROTOCOL,
    "rates": ", ".join(str(rate) for rate in CLIENT_RATES[:-1]) + f" or {CLIENT_RATES[-1]}",
    "caption_rate": str(SAMPLE_RATE),
    "header_bytes": str(frames.HEADER.size),
    "frame_version": str(frames.VERSION),
    "frame_seconds": f"{frames.MAX_FRAME_SECONDS:g}",
    "text_characters": f"{session.MAX_TEXT:,}",
    "greeting_seconds": f"{session.GREETING_S:g}",
    "ack_ms": f"{session_base.ACK_S * 1000:g}",
    "watchdog_seconds": f"{client.WATCHDOG_S:g}",
    "jumps": str(session.MAX_JUMPS),
    "slow_seconds": f"{outbox.STUCK_S:g}",
    "opus_rate": str(wire.OPUS_RATE),
    "idle_warning": f"{session_base.Idle().warning_s:g}",
    "idle_end": f"{session_base.Idle().end_s:g}",
    "ring_seconds": str(client.RING_BEYOND_WINDOW_S),
    "ticket_seconds": str(tickets.TTL_S),
}

INTRO = """
Version 1 of what clients and gateways say to each other: one WebSocket a call, sound up, captions down. The same
definitions as AsyncAPI are in [asyncapi.yaml](asyncapi.yaml), the codes of errors in [errors.md](errors.md), and a
whole client of a screenful in the [README](../../README.md#from-a-phone-system).
"""


def make() -> str:
    """The page."""
    text = re.sub(r"\{\{(\w+)\}\}", lambda name: NUMBERS[name[1]], PROSE.read_text("utf-8"))
    return page(
        "The native protocol",
        INTRO,
        text,
        "## What the client sends",
        *(_message(each, from_client=True) for each in client_messages()),
        "## What the gateway sends",
        *(_message(each, from_client=False) for each in server_messages()),
        "## Hints\n\nWhat `quality` may have as its hint:\n\n"
        + table(("code", "sentence"), [(f"`{name}`", sentence) for name, sentence in HINTS.items()]),
        "## Close codes\n\n" + table(("code", "meaning"), _close_codes()),
    )


def _message(message: type[wire.Message], *, from_client: bool) -> str:
    heading = f"### `{name_of(message)}`\n\n{_paragraphs(message)}"
    rows = list(_rows(message, "", from_client=from_client))
    heads = ("field", "type", "default", "limits", "meaning") if from_client else ("field", "type", "meaning")
    return "\n\n".join([heading, *([table(heads, rows)] if rows else []), code(_example(name_of(message)), "json")])


def _paragraphs(message: type[wire.Message]) -> str:
    return "\n\n".join(prose(part) for part in (message.__doc__ or "").split("\n\n"))


def _rows(model: type[BaseModel], prefix: str, *, from_client: bool) -> Iterator[Sequence[str]]:
    """A row a field, and below a field that holds objects the rows of theirs; ``type`` is in the heading."""
    for name, field in model.model_fields.items():
        if name == "type":
            continue
        path = prefix + (field.alias or name)
        yield _row(path, field, from_client=from_client)
        inner = model_in(field.annotation)
        if inner is not None:
            yield from _rows(inner, path + ("[]." if is_list(field.annotation) else "."), from_client=from_client)


def _row(path: str, field: FieldInfo, *, from_client: bool) -> Sequence[str]:
    start = (f"`{path}`", type_in_words(field.annotation))
    middle = (default_in_words(field), limits_in_words(field) or "—") if from_client else ()
    return (*start, *middle, prose(field.description))


def _example(name: str) -> str:
    """The first example that the tests of both languages read, a line a field."""
    stored: Any = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    first = stored[0] if isinstance(stored, list) else stored
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in first.items()]
    return json.dumps(first) if len(lines) < 3 else "{\n" + ",\n".join(lines) + "\n}"


def _close_codes() -> Iterator[tuple[str, str]]:
    told = {Code[name].value: text for name, text in attribute_docs(Code).items()}
    told[BUG] = "A bug of ours: this session alone; resume."
    for number in sorted(told):
        yield str(number), prose(told[number])
