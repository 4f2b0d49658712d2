"""The native protocol as AsyncAPI 3.0, from the same message definitions as the page and the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import yaml
from docs.pages.tables import prose
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from stenoflow import __version__
from stenoflow.protocol import messages as wire

AUDIO = "audio"
TO_WATCHERS = ("partial", "final", "spotted", "quality", "error", "reconnect", "ended")
SCHEMA = "#/components/schemas/{model}"


def client_messages() -> Sequence[type[wire.Message]]:
    """What a client may send, in the order of the definitions."""
    return get_args(get_args(wire.ClientMessage)[0])


def server_messages() -> Sequence[type[wire.Message]]:
    """What a server may send."""
    return get_args(get_args(wire.ServerMessage)[0])


def name_of(message: type[wire.Message]) -> str:
    """Its ``type`` on the wire."""
    return str(message.model_fields["type"].default)


class _Untitled(GenerateJsonSchema):
    """Schemas without a title for each field, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        return False


def make() -> str:
    """The file."""
    note = "# Made from the code by `make reference`: change the code (or docs/pages/), not this file.\n"
    text: str = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=112)
    return note + text


def document() -> dict[str, Any]:
    """The whole document. The server's point of view: it receives what clients send."""
    sent, received = [name_of(each) for each in server_messages()], [name_of(each) for each in client_messages()]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stenoflow, native protocol",
            "version": __version__,
            "description": "Audio up, captions down, one WebSocket a call. protocol.md says in which order.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": {"host": "127.0.0.1:8000", "protocol": "ws", "description": "On this machine."}},
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "description": f"One session. The WebSocket subprotocol is `{wire.SUBPROTOCOL}`.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in [*received, AUDIO, *sent]},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            },
            "captions": {
                "address": "/v1/sessions/{session}/captions",
                "description": "A session as its watchers see it: what was said so far, then live.",
                "parameters": {"session": {"description": "The session's id, from `started` or `GET /v1/sessions`."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in TO_WATCHERS},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            },
        },
        "operations": {
            "fromClient": _operation("receive", "stream", "What a client sends.", [*received, AUDIO]),
            "toClient": _operation("send", "stream", "What the gateway sends.", sent),
            "toWatcher": _operation("send", "captions", "What a watcher gets.", TO_WATCHERS),
        },
        "components": {"messages": {**_messages(), AUDIO: _audio()}, "schemas": _schemas()},
    }


def _operation(action: str, channel: str, summary: str, names: Sequence[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _messages() -> dict[str, Any]:
    return {
        name_of(each): {"summary": prose(each.__doc__), "payload": {"$ref": SCHEMA.format(model=each.__name__)}}
        for each in [*client_messages(), *server_messages()]
    }


def _audio() -> dict[str, Any]:
    header = "Little-endian: version u8 (1), track u8, flags u16 (0), position of the first sample u64; then sound."
    return {
        "summary": "Some sound of one track, in a binary frame.",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "format": "binary", "minLength": 12, "description": header},
    }


def _schemas() -> dict[str, Any]:
    models: list[tuple[type[wire.Message], JsonSchemaMode]] = [(each, "validation") for each in client_messages()]
    models += [(each, "serialization") for each in server_messages()]
    _, found = models_json_schema(models, ref_template=SCHEMA, schema_generator=_Untitled)
    return {name: _in_markdown(schema) for name, schema in found["$defs"].items()}


def _in_markdown(node: Any) -> Any:
    """Descriptions as Markdown instead of reST, in all depths."""
    if isinstance(node, dict):
        return {
            key: prose(value) if key == "description" and isinstance(value, str) else _in_markdown(value)
            for key, value in node.items()
        }
    return [_in_markdown(each) for each in node] if isinstance(node, list) else node
