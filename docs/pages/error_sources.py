"""Finds every error code in the source: where a typed error, or a message with a code, is made with a literal one.

Here live the rules of finding alone; what a code means to a reader is in ``errors.toml``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("shared/stenoflow", "services")
BASE = "StenoflowError"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a code is made.

    Args:
        code: the literal.
        kind: name of the error class, of the message, or of the function that takes a code.
        path: of the source file, from the repository's root.
        retryable: whether it is made so.
    """

    code: str
    kind: str
    path: str
    retryable: bool


def find() -> list[Found]:
    """Every code in the source, in order of files and lines."""
    files = sorted(path for root in SOURCES for path in (ROOT / root).rglob("*.py"))
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in files}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    takers = _takers(nodes)
    retrying = {name for name, definition in _error_classes(nodes).items() if _retries(definition)}
    return [
        Found(code, kind, path, retryable or kind in retrying)
        for path, tree in trees.items()
        for node in _in_order(tree)
        for code, kind, retryable in _of_node(node, takers)
    ]


def _in_order(tree: ast.Module) -> Iterable[ast.AST]:
    return sorted(ast.walk(tree), key=lambda node: getattr(node, "lineno", 0))


def _error_classes(nodes: Iterable[ast.AST]) -> dict[str, ast.ClassDef]:
    """The base and all that stand on it, each after its own base."""
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    found = {BASE: classes[BASE]}
    while fresh := {
        name: node
        for name, node in classes.items()
        if name not in found and any(isinstance(base, ast.Name) and base.id in found for base in node.bases)
    }:
        found |= fresh
    return found


def _takers(nodes: Iterable[ast.AST]) -> Mapping[str, int | None]:
    """Who takes a code, and as which argument: messages (by name), error classes, functions of code and sentence."""
    takers: dict[str, int | None] = {"Error": None, "Warning": None}
    for node in nodes:
        if isinstance(node, Function) and any(each.arg == "sentence" for each in node.args.args):
            takers[node.name] = _place_of_code(node)
    for name, definition in _error_classes(nodes).items():
        own = _init(definition)
        bases = [base.id for base in definition.bases if isinstance(base, ast.Name)]
        inherited = next((takers[base] for base in bases if base in takers), None)
        takers[name] = inherited if own is None else _place_of_code(own)
    return takers


def _init(definition: ast.ClassDef) -> Function | None:
    return next((each for each in definition.body if isinstance(each, Function) and each.name == "__init__"), None)


def _place_of_code(function: Function) -> int | None:
    names = [each.arg for each in function.args.args if each.arg != "self"]
    texts = [each for each in function.args.args if each.arg == "code" and getattr(each.annotation, "id", "") == "str"]
    return names.index("code") if texts else None


def _retries(definition: ast.ClassDef) -> bool:
    own = _init(definition)
    return own is not None and any(isinstance(node, ast.Call) and _says_retryable(node) for node in ast.walk(own))


def _says_retryable(call: ast.Call) -> bool:
    return any(each.arg == "retryable" and getattr(each.value, "value", False) is True for each in call.keywords)


def _of_node(node: ast.AST, takers: Mapping[str, int | None]) -> Iterator[tuple[str, str, bool]]:
    """Code, kind and whether it is retryable, of what stands at one node."""
    match node:
        case ast.Call(func=ast.Name(id=kind) | ast.Attribute(attr=kind)) if kind in takers:
            at = takers[kind]
            given = [each.value for each in node.keywords if each.arg == "code"]
            given += node.args[at : at + 1] if at is not None else []
            for code in (code for each in given for code in _literals(each)):
                yield code, kind, _says_retryable(node)
        case ast.ClassDef(name=kind) if kind in takers and (own := _init(node)) is not None:
            for call in ast.walk(own):  # super().__init__("code", …)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "__init__":
                    yield from ((code, kind, _says_retryable(call)) for code in _literals(call.args[0]))
            names = [each.arg for each in own.args.args][-len(own.args.defaults) or None :]
            for name, default in zip(names, own.args.defaults, strict=False):
                if name == "code":
                    yield from ((code, kind, False) for code in _literals(default))
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id="code"), *_])], value=ast.BoolOp(values=values)):
            for default in (each for each in values if isinstance(each, ast.Tuple)):
                yield from ((code, BASE, False) for code in _literals(default.elts[0]))


def _literals(node: ast.expr) -> Iterator[str]:
    """The codes that an expression may be: a literal, or one on each side of an ``if``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*_literals(node.body), *_literals(node.orelse))
