"""What a pydantic field takes, in words: type, default, limits. Serves messages and settings alike."""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAMES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    dict: "object of strings",
}
SIGNS = {"gt": "over {}", "ge": "{} or more", "min_length": "{} or more", "lt": "below {}", "le": "{} or less"} | {
    "max_length": "{} or fewer"
}


def type_in_words(annotation: Any) -> str:
    """``integer``, ``list of objects``, ``"live" or "file"`` and so on."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join("null" if each is NoneType else type_in_words(each) for each in arguments)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(each)}`" for each in arguments)
    if origin is tuple:
        return "list of objects" if model_in(annotation) else f"list of {type_in_words(arguments[0])}s"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object"
    return NAMES[origin or annotation]


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone, in a list or as an option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := model_in(each)) is not None), None)


def is_list(annotation: Any) -> bool:
    """Whether a field is a list (messages have tuples)."""
    return get_origin(annotation) is tuple


def default_in_words(field: FieldInfo) -> str:
    """The default as it would be written; a dash where none can be said in a word."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == "" or field.default_factory is not None:
        return "—"
    if isinstance(value, BaseModel):
        return "its fields' own"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`".replace('"', "")


def limits_in_words(field: FieldInfo) -> str:
    """The bounds of a field: ``1 to 64 characters``, ``≥ 0``, the names that it takes."""
    given = {name: getattr(each, name) for each in field.metadata for name in SIGNS if hasattr(each, name)}
    pattern = next((each.pattern for each in field.metadata if getattr(each, "pattern", None)), None)
    if pattern:
        return ", ".join(f"`{each}`" for each in pattern.strip("^$()").split("|"))
    if isinstance(given.get("lt"), int):
        given["le"] = given.pop("lt") - 1
    unit = " characters" if given.keys() & {"min_length", "max_length"} and not is_list(field.annotation) else ""
    least = [name for name in ("ge", "min_length") if name in given]
    most = [name for name in ("le", "max_length") if name in given]
    if least and most:
        return f"{given[least[0]]:,} to {given[most[0]]:,}{unit}"
    return ", ".join(SIGNS[name].format(f"{given[name]:,}") for name in SIGNS if name in given) + (
        unit if given else ""
    )
