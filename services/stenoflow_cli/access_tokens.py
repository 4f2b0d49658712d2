"""``stenoflow token``: makes access tokens, and the secret that they are signed with. It never prints a secret."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from stenoflow.base.errors import ConfigError

if TYPE_CHECKING:  # the gateway's extra may not be installed where only files are transcribed
    from stenoflow_gateway.access.bearer import Keyring

VARIABLE = "STENOFLOW_TOKEN"
"""Where `transcribe` looks for a token: command lines are seen by every user of a machine, variables are not."""

UNITS = {"s": (1, "second"), "m": (60, "minute"), "h": (3600, "hour"), "d": (86_400, "day")}
OWN_S = 3600
"""How long a token lasts that `up` and `transcribe` make for a stack of their own."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time as a person gave it."""

    seconds: int
    words: str


def duration(text: str) -> Duration:
    """``90s``, ``15m``, ``8h`` or ``30d``.

    Raises:
        ConfigError: ``bad_duration``.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None or int(found[1]) == 0:
        raise ConfigError("bad_duration", f"'{text}' is no length of time: give 90s, 15m, 8h or 30d")
    count, (seconds, unit) = int(found[1]), UNITS[found[2]]
    return Duration(count * seconds, f"{count} {unit}{'' if count == 1 else 's'}")


def make_token(
    tenant: str, scopes: Sequence[str], lasts: Duration, session: str | None, key_file: Path | None, console: Console
) -> str:
    """A token; says to the console whose it is and until when.

    Raises:
        ConfigError: ``token_key_missing``, ``token_key_weak``, ``token_key_unreadable``, ``bad_tenant``, ``bad_scope``
            or ``extra_missing``.
    """
    keys = _keys(key_file)
    from stenoflow_gateway.access.bearer import TENANT
    from stenoflow_gateway.access.grants import SCOPES

    if keys is None:
        raise ConfigError(
            "token_key_missing",
            "there is no secret to sign with: give the gateway's as --key-file FILE or in "
            "STENOFLOW_GATEWAY_TOKEN_KEY_FILE, or make one with `stenoflow token --new-key FILE`",
        )
    if not TENANT.fullmatch(tenant):
        raise ConfigError("bad_tenant", f"'{tenant}' cannot be a tenant: letters, digits, '.', '_', '-'; 64 at most")
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError("bad_scope", f"there is no scope '{scope}': give {' or '.join(sorted(SCOPES))}")
    now = int(time.time())
    token = keys.make(tenant, set(scopes), now + lasts.seconds, now, session)
    until = datetime.fromtimestamp(now + lasts.seconds, UTC)
    what = " and ".join(sorted(set(scopes))) + ("" if session is None else f" (session {session} alone)")
    console.print(
        f"[green]●[/] {escape(tenant)} may {escape(what)} until {until:%Y-%m-%d %H:%M} UTC ({lasts.words}). "
        "Whoever has this token may: keep it secret.",
        highlight=False,
        soft_wrap=True,
    )
    return token


def make_key(path: Path, console: Console) -> None:
    """Writes a new secret to the front of a file that only its owner may read; those in it before are still taken.

    Raises:
        ConfigError: ``cannot_write`` or ``extra_missing``.
    """
    _needs_gateway()
    from stenoflow_gateway.access.bearer import new_key

    try:
        before = path.read_text("utf-8").split() if path.exists() else []
        new = path.with_name(path.name + ".new")
        new.touch(mode=0o600)
        new.write_text("".join(f"{key}\n" for key in [new_key(), *before]), "utf-8")
        new.replace(path)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise ConfigError("cannot_write", f"{path} cannot be written ({why})") from None
    older = (
        f" {len(before)} older in it still count: take their lines out when their tokens have expired."
        if before
        else " Start the gateway with --token-key-file and this file; make tokens with --key-file and it."
    )
    console.print(
        f"[green]●[/] a new secret is in {escape(str(path))}, which only you can read.{older}",
        highlight=False,
        soft_wrap=True,
    )


def own_token() -> str | None:
    """A token for a stack that is started here: the one that was given, or one made with the secret it will have."""
    given = os.environ.get(VARIABLE)
    keys = None if given else _keys(None)
    if keys is None:
        return given or None
    now = int(time.time())
    return keys.make("local", ("publish",), now + OWN_S, now)


def _keys(key_file: Path | None) -> Keyring | None:
    _needs_gateway()
    from stenoflow_gateway.access.bearer import Keyring, keys_of
    from stenoflow_gateway.settings import GatewaySettings

    return keys_of(GatewaySettings()) if key_file is None else Keyring.read("", key_file)


def _needs_gateway() -> None:
    try:
        import jwt  # noqa: F401
    except ImportError as error:
        raise ConfigError("extra_missing", f"{error.name} is not installed: pip install 'stenoflow[gateway]'") from None
