"""docs/reference/ says what the code says, leaves nothing out, and holds for whoever goes by it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.make_reference import pages
from docs.pages import asyncapi, errors
from docs.pages.error_sources import find
from docs.pages.fields import model_in
from docs.pages.openapi import make as make_openapi
from docs.pages.settings import SERVICES
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "docs" / "reference"
EXAMPLES = ROOT / "tests" / "wire" / "examples"
MESSAGES = [*asyncapi.client_messages(), *asyncapi.server_messages()]


@pytest.fixture(scope="module")
def made() -> Mapping[str, str]:
    return pages()


def test_pages_are_those_of_the_code(made: Mapping[str, str]) -> None:
    committed = {
        str(path.relative_to(REFERENCE)): path.read_text("utf-8") for path in REFERENCE.rglob("*") if path.is_file()
    }
    wrong = [name for name in sorted({*made, *committed}) if made.get(name) != committed.get(name)]
    assert not wrong, "not what the code says now: run `make reference` and commit, take out what it no longer makes"


def test_every_command_has_a_page(made: Mapping[str, str]) -> None:
    listed = set(re.findall(r"\(([a-z-]+\.md)\)", made["commands/README.md"]))
    assert {"stenoflow-up.md", "stenoflow-bundle-add.md", "stenoflow-train-lm.md", "stenoflow-gateway.md"} <= listed
    assert {f"commands/{name}" for name in listed} == {
        name for name in made if name.startswith("commands/") and not name.endswith("README.md")
    }


def test_pages_hold_nothing_of_this_machine(made: Mapping[str, str]) -> None:
    for text in made.values():
        assert str(ROOT) not in text
        assert "\x1b" not in text


# ---------------------------------------------------------------- descriptions


def _undescribed(model: type[BaseModel]) -> Iterator[str]:
    if not model.__doc__:
        yield model.__name__
    for name, field in model.model_fields.items():
        if not field.description and name != "type":
            yield f"{model.__name__}.{name}"
        inner = model_in(field.annotation)
        if inner is not None:
            yield from _undescribed(inner)


def test_messages_and_settings_are_described() -> None:
    models: list[type[BaseModel]] = [*MESSAGES, *(settings for _, settings in SERVICES.values())]
    assert [lacking for model in models for lacking in _undescribed(model)] == []


def test_routes_are_described() -> None:
    paths = json.loads(make_openapi())["paths"]
    assert {"/healthz", "/readyz", "/metrics", "/v1/capacity", "/sample.flac"} <= paths.keys()
    assert [path for path, methods in paths.items() for each in methods.values() if not each.get("description")] == []


# ---------------------------------------------------------------- AsyncAPI


@pytest.fixture(scope="module")
def document(made: Mapping[str, str]) -> Any:
    return yaml.safe_load(made["asyncapi.yaml"])


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _references(each)


def test_every_reference_of_the_asyncapi_resolves(document: Any) -> None:
    for reference in set(_references(document)):
        assert reference.startswith("#/")
        found = document
        for part in reference[2:].split("/"):
            assert part in found, reference
            found = found[part]


def test_asyncapi_has_every_message_once_and_in_the_right_direction(document: Any) -> None:
    assert document["asyncapi"] == "3.0.0"
    operations = document["operations"]
    for operation, action, messages, more in (
        ("fromClient", "receive", asyncapi.client_messages(), ["audio"]),
        ("toClient", "send", asyncapi.server_messages(), []),
    ):
        names = [each["$ref"].rpartition("/")[2] for each in operations[operation]["messages"]]
        assert operations[operation]["action"] == action
        assert names == [asyncapi.name_of(each) for each in messages] + more
    names = {asyncapi.name_of(each) for each in MESSAGES} | {"audio"}
    assert document["channels"]["stream"]["messages"].keys() == document["components"]["messages"].keys() == names


@pytest.mark.parametrize("message", MESSAGES, ids=asyncapi.name_of)
def test_payloads_take_the_wire_examples_and_no_unknown_field(document: Any, message: type[BaseModel]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    name = asyncapi.name_of(message)  # type: ignore[arg-type]
    payload = document["components"]["messages"][name]["payload"]
    validator = jsonschema.Draft202012Validator({**payload, "components": document["components"]})
    for schema in document["components"]["schemas"].values():
        validator.check_schema(schema)
    stored = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    for example in stored if isinstance(stored, list) else [stored]:
        whole = message.model_validate(example).model_dump(mode="json", by_alias=True)
        validator.validate(whole)
        assert not validator.is_valid({**whole, "no_such_field": 1})


# ---------------------------------------------------------------- errors


def test_every_code_of_the_source_has_its_meaning_and_the_reverse() -> None:
    made, told = {each.code for each in find()}, errors.meanings().keys()
    assert made - told == set(), "add these to docs/pages/errors.toml"
    assert told - made == set(), "no code makes these any more: take them out of docs/pages/errors.toml"


def test_every_way_of_making_a_code_is_found() -> None:
    ways = {
        ("at_capacity", "ClientError"),  # the first argument
        ("audio_before_start", "ClientError"),  # one side of an `if`
        ("bus_full", "BusUnavailable"),  # by name
        ("bus_unavailable", "BusUnavailable"),  # a default
        ("log_gap", "LogGap"),  # in a subclass
        ("track_ended", "Warning"),  # in a message
        ("unknown_subprotocol", "Error"),
        ("poisoned_track", "_break"),  # through the session record
        ("broken", "StenoflowError"),  # where the record names none
    }
    assert ways <= {(each.code, each.kind) for each in find()}


def test_codes_are_retryable_where_the_code_says_so() -> None:
    retryable = {each.code for each in find() if each.retryable}
    assert {"at_capacity", "no_workers", "bus_full", "try_again", "connection_lost"} <= retryable
    assert not retryable & {"superseded", "unknown_token", "session_ended", "invalid_message", "bundle_hash"}


@pytest.mark.parametrize("code", errors.meanings())
def test_meanings_are_whole(code: str) -> None:
    meaning = errors.meanings()[code]
    assert meaning.keys() == {"example", "do"}
    assert meaning["do"].endswith(".")


@pytest.mark.parametrize("told", errors.bad_input(), ids=lambda told: str(told["what"]))
def test_what_is_told_of_bad_input_is_tested(told: dict[str, Any]) -> None:
    assert set(told["codes"]) <= errors.meanings().keys()
    assert told["tests"]
    sources = ""
    for test in told["tests"]:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text("utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"there is no {test}"
        sources += source
    assert [code for code in told["codes"] if f'"{code}"' not in sources] == [], "no test there names it"


def _pattern(sentence: ast.expr) -> str:
    """What a sentence in the code may come out as; anything for what stands in a variable."""
    match sentence:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=values):
            return "".join(_pattern(each) for each in values)
        case ast.BinOp(left=left, right=right):
            return _pattern(left) + _pattern(right)
        case _:
            return ".*"


def test_examples_are_sentences_that_the_code_can_say() -> None:
    patterns: dict[str, set[str]] = {}
    for path in sorted({each.path for each in find()}):
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
            for at, argument in enumerate(node.args[:-1] if isinstance(node, ast.Call) else ()):
                if isinstance(argument, ast.Constant) and argument.value in errors.meanings():
                    assert isinstance(node, ast.Call)
                    patterns.setdefault(argument.value, set()).add(_pattern(node.args[at + 1]))
    assert len(patterns) > 80
    examples = {code: errors.meanings()[code]["example"] for code in patterns}
    assert [
        (code, example)
        for code, example in examples.items()
        if not any(re.fullmatch(pattern, example) for pattern in patterns[code])
    ] == []


# ---------------------------------------------------------------- settings


def test_no_variable_is_named_that_is_not_in_the_reference() -> None:
    known = set(re.findall(r"`(STENOFLOW_[A-Z_]+)`", (REFERENCE / "settings.md").read_text("utf-8")))
    files = [ROOT / "docker-compose.yml", ROOT / "README.md"]
    files += [path for path in (ROOT / "k8s").rglob("*") if path.is_file() and "secrets" not in path.parts]
    named = {
        (name, path.relative_to(ROOT).as_posix())
        for path in files
        for name in re.findall(r"STENOFLOW_[A-Z_]*[A-Z]", path.read_text("utf-8", errors="ignore"))
    }
    assert {name for name, _ in named} >= {"STENOFLOW_GATEWAY_HOST"}
    assert [(name, path) for name, path in sorted(named) if name not in known] == []


def _told(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Each program of ours and a flag that some file gives it."""
    for path in files:
        text = path.read_text("utf-8", errors="ignore").replace("\\\n", " ")
        programs = (
            r"\b(stenoflow-[a-z-]+|stenoflow (?:up|transcribe|listen|sessions|doctor))\b((?:(?!stenoflow)[^\n])*)"
        )
        for program, rest in re.findall(programs, text):
            for flag in re.findall(r"(?<=[\s`\"'\[])--[a-z][a-z-]*", rest):
                yield program, flag


def test_no_flag_is_named_that_is_not_in_the_reference() -> None:
    files = [ROOT / "docker-compose.yml", ROOT / "README.md", *(ROOT / "services").glob("*/README.md")]
    files += [path for path in (ROOT / "k8s").rglob("*") if path.is_file() and "secrets" not in path.parts]
    texts = [path.read_text("utf-8") for path in (REFERENCE / "commands").glob("stenoflow*.md")]
    # By the title: what one types.
    known = {text.partition("\n")[0].removeprefix("# "): set(re.findall(r"--[a-z][a-z-]*", text)) for text in texts}

    def takes(program: str, flag: str) -> bool:  # by itself, or one of its commands does
        return any(flag in flags for name, flags in known.items() if f"{name} ".startswith(f"{program} "))

    told = set(_told(files))
    assert ("stenoflow up", "--workers") in told
    assert [each for each in sorted(told) if not takes(*each)] == []


def test_compose_gives_its_services_no_setting_that_is_another_s() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    settings = {name.removeprefix("stenoflow-"): each for name, (_, each) in SERVICES.items()}
    seen = 0
    for name, service in services.items():
        mine = settings.get(name.removesuffix("-gpu"))
        for variable in service.get("environment") or {}:
            if variable.startswith("STENOFLOW_"):
                assert mine is not None, f"{name} is no service of ours"
                prefix = str(mine.model_config.get("env_prefix"))
                assert variable.startswith(prefix), f"{name} does not read {variable}"
                assert variable.removeprefix(prefix).lower() in mine.model_fields, variable
                seen += 1
    assert seen >= len(settings)
