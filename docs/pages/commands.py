"""A page a command: what it prints for ``--help``, at one width and without colour; and a list of them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.pages.tables import code, page, table

ROOT = Path(__file__).resolve().parents[2]
WIDTH = "100"

INTRO = """
What every command prints for `--help`. `stenoflow` is for using captions, `stenoflow-train` for making models, and the
others are the services, one process each. All of them are installed with the package; in a checkout they are in
`.venv/bin/`. They leave with exit code 0 when all is well, 2 after a sentence that says what to change, 1 after a bug,
and a worker whose step hangs with 70.
"""


def make() -> Mapping[str, str]:
    """The pages by file name; ``README.md`` lists the others."""
    from docs.pages.settings import SERVICES

    import stenoflow_cli.__main__
    import stenoflow_trainer.__main__

    helps = {
        **_of_typer("stenoflow", stenoflow_cli.__main__.app),
        **_of_typer("stenoflow-train", stenoflow_trainer.__main__.app),
        **{name: help_of(module.main, name) for name, (module, _) in SERVICES.items()},
    }
    files = {name: f"{name.replace(' ', '-')}.md" for name in helps}
    listed = table(("command", "what it does"), [(f"[{name}]({files[name]})", _does(helps[name])) for name in helps])
    return {
        "README.md": page("Commands", INTRO, listed),
        **{files[name]: page(name, "", code(text)) for name, text in helps.items()},
    }


def _does(text: str) -> str:
    """The first sentence below the usage."""
    _, _, described = text.partition("Usage:") if "Usage:" in text else text.partition("usage:")
    paragraph = next(part for part in described.split("\n\n")[1:] if part.strip())
    return " ".join(paragraph.split())


def help_of(main: Callable[..., Any], *command_line: str) -> str:
    """What a program prints for ``--help``."""
    printed = io.StringIO()
    with (
        _plain_terminal([*command_line, "--help"]),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main()
    return "\n".join(line.rstrip() for line in printed.getvalue().splitlines()).strip("\n")


@contextlib.contextmanager
def _plain_terminal(arguments: list[str]) -> Iterator[None]:
    """One width, no colour, whatever the terminal; and the arguments for one call."""
    before, environment = sys.argv, dict(os.environ)
    sys.argv = arguments
    os.environ.update(COLUMNS=WIDTH, NO_COLOR="1", TERM="dumb")
    for forced in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH"):
        os.environ.pop(forced, None)
    try:
        yield
    finally:
        sys.argv = before
        os.environ.clear()
        os.environ.update(environment)


def _of_typer(name: str, app: Any) -> Mapping[str, str]:
    """The help of a program and of each of its commands, by what one types."""
    import typer.main

    program: Any = typer.main.get_command(app)

    def told(*names: str) -> str:
        return help_of(lambda: program(prog_name=name), name, *names)

    found = {name: told()}
    for command in program.commands.values():
        if not command.hidden:
            _make_relative(command)
            found[f"{name} {command.name}"] = told(command.name)
            for below in getattr(command, "commands", {}).values():
                _make_relative(below)
                found[f"{name} {command.name} {below.name}"] = told(command.name, below.name)
    return found


def _make_relative(command: Any) -> None:
    """Defaults inside this checkout are shown as seen from its root."""
    for parameter in command.params:
        default = Path(parameter.default) if isinstance(parameter.default, str | Path) else None
        if default is not None and default.is_relative_to(ROOT):
            parameter.default = str(default.relative_to(ROOT))
