"""Bearer tokens: JSON Web Tokens (RFC 7519), signed with HMAC-SHA256 and verified without asking anybody.

One algorithm, whatever a token's header says. A secret has a key id made of itself, so rotation needs no names: the
first secret signs, all verify. Nothing here is ever logged, and no error repeats a part of a token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import jwt

from stenoflow.base.errors import ConfigError
from stenoflow_gateway.access.error import AccessError
from stenoflow_gateway.access.grants import SCOPES, Grant
from stenoflow_gateway.settings import GatewaySettings

ALGORITHM = "HS256"
AUDIENCE = "stenoflow"

TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a tenant may be called: it is part of keys in Redis."""

MAX_TOKEN = 2048
"""Longest token that is looked at, characters: ours have some 300."""

LEAST_SECRET = 32
"""Shortest secret, characters (RFC 7518, 3.2: as long as the hash)."""

LEEWAY_S = 5.0
"""How much clocks of who makes tokens and of gateways may differ."""


class Keyring:
    """The secrets that tokens are signed with.

    Args:
        keys: the first one signs, all verify.

    Raises:
        ConfigError: ``token_key_weak``.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        assert keys, "a keyring without a key"
        if any(len(key) < LEAST_SECRET for key in keys):
            raise ConfigError(
                "token_key_weak",
                f"a secret for tokens has less than {LEAST_SECRET} characters: make one with "
                "`stenoflow token --new-key FILE`",
            )
        self._keys: Mapping[str, str] = {_id_of(key): key for key in keys}

    @classmethod
    def read(cls, text: str, file: Path | None) -> Keyring | None:
        """The secrets of a setting and of a file, one a line (or with commas between them); None where there are none.

        Raises:
            ConfigError: ``token_key_unreadable``, ``token_key_weak``.
        """
        if file is not None:
            try:
                text += "\n" + file.read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                sentence = f"the secret for tokens cannot be read from {file}: correct the path or its permissions"
                raise ConfigError("token_key_unreadable", sentence) from None
            if not text.strip():
                sentence = f"{file} holds no secret for tokens: make one with `stenoflow token --new-key FILE`"
                raise ConfigError("token_key_weak", sentence)
        found = re.split(r"[\s,]+", text.strip(" \t\r\n,"))
        return cls(found) if found != [""] else None

    def make(self, tenant: str, scopes: Collection[str], expires_at: int, now: int, session: str | None = None) -> str:
        """A token.

        Args:
            tenant: whose; see :data:`TENANT`.
            scopes: some of :data:`stenoflow_gateway.access.grants.SCOPES`.
            expires_at: seconds since the epoch.
            now: the same; it is not valid before.
            session: the one session that it is for, if it is for one.
        """
        assert TENANT.fullmatch(tenant) and scopes and SCOPES.issuperset(scopes)
        claims = {"aud": AUDIENCE, "tenant": tenant, "scope": " ".join(sorted(scopes)), "iat": now, "exp": expires_at}
        if session is not None:
            claims["session"] = session
        key_id = next(iter(self._keys))
        return jwt.encode(claims, self._keys[key_id], algorithm=ALGORITHM, headers={"kid": key_id})

    def grant(self, token: str) -> Grant:
        """What a token grants. (The library compares signatures in constant time, before it reads a claim.)

        Raises:
            AccessError: ``unauthorized`` or ``token_expired``.
        """
        if len(token) > MAX_TOKEN:
            raise AccessError("unauthorized", f"a token has at most {MAX_TOKEN} characters; this one has {len(token)}")
        try:
            key = self._keys[str(jwt.get_unverified_header(token).get("kid"))]
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "aud", "tenant", "scope"]},
            )
            tenant, session = claims["tenant"], claims.get("session")
            scopes = SCOPES.intersection(claims["scope"].split())
            expires_at = float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise AccessError("token_expired", "this token has expired; get a new one") from None
        except jwt.ImmatureSignatureError:
            raise AccessError("unauthorized", "this token is not valid yet; check the clock of who made it") from None
        except (jwt.InvalidTokenError, KeyError, AttributeError):
            raise AccessError(
                "unauthorized", "this token is damaged, or was not made for this gateway; get a new one"
            ) from None
        if not isinstance(tenant, str) or not TENANT.fullmatch(tenant) or not isinstance(session, str | None):
            raise AccessError("unauthorized", "this token names no tenant; get a new one")
        return Grant(tenant, scopes, session, expires_at)

    def sealed(self, text: str) -> str:
        """A text with what only who has the secret can put behind it (128 bits of HMAC-SHA256)."""
        return f"{text}.{_seal(next(iter(self._keys.values())), text)}"

    def fits(self, text: str, seal: str) -> bool:
        """Whether a text was sealed with one of the secrets."""
        return any(hmac.compare_digest(_seal(key, text).encode(), seal.encode()) for key in self._keys.values())


def _seal(key: str, text: str) -> str:
    # The name keeps it apart from all else that the secret signs.
    return hmac.digest(key.encode(), f"stenoflow resume {text}".encode(), "sha256").hex()[:32]


def made_here(sealed: str, keys: Keyring | None) -> bool:
    """Whether :meth:`Keyring.sealed` gave this text; without secrets all is open, and nothing can tell."""
    text, _, seal = sealed.rpartition(".")
    return keys is None or keys.fits(text, seal)


def keys_of(settings: GatewaySettings) -> Keyring | None:
    """The secrets that a gateway was given; None where there are none.

    Raises:
        ConfigError: as :meth:`Keyring.read`.
    """
    text = settings.token_key.get_secret_value() if settings.token_key is not None else ""
    return Keyring.read(text, settings.token_key_file)


def new_key() -> str:
    """A secret of 256 bits."""
    return secrets.token_urlsafe(32)


def _id_of(key: str) -> str:
    return hashlib.sha256(f"stenoflow key id {key}".encode()).hexdigest()[:8]
