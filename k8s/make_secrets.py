#!/usr/bin/env python3
"""Makes, rotates and retires the passwords of an overlay: ``make_secrets.py k8s/overlays/production --tls``.

Writes the folder ``secrets/`` of the overlay, which git ignores: Redis ACL files made of the templates in
``base/redis``, one small file a Secret, and the kustomization that turns them into Secrets. Needs nothing but Python.

    make_secrets.py OVERLAY [--tls]    a new password for everybody who has none yet; writes all files again
    make_secrets.py OVERLAY --rotate   new passwords, and a new key for tokens; the old ones count too, until retired
    make_secrets.py OVERLAY --retire   the old ones end
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "base" / "redis"
SERVICES = ("gateway", "features", "acoustic", "decoder", "second-pass")
USERS = (*SERVICES, "autoscaler", "probe", "replica", "sentinel", "failover", "operator")
TOKEN_KEY = "token-key"
"""Not a Redis user: what access tokens are signed with."""

CA_PATH = "/etc/stenoflow/redis-ca/ca.crt"
"""Where components/tls mounts it."""

Passwords = dict[str, list[str]]
"""By user: the present password, and the one before it until that is retired."""


def acl_file(template: str, passwords: Passwords) -> str:
    """A real ACL file: Redis wants each user on one line and knows no comments.

    Raises:
        KeyError: the template names a user without a password.
    """
    names: dict[str, str] = {}
    users: list[str] = []
    for line in template.splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if match := re.fullmatch(r"let (\w+)\s*= (\S+)", text):
            names[match[1]] = match[2]
        elif line[0].isspace():
            users[-1] += " " + text
        else:
            users.append(text)

    def hashes(match: re.Match[str]) -> str:
        return " ".join("#" + hashlib.sha256(each.encode()).hexdigest() for each in passwords[match[1]])

    made = [re.sub(r"(?<= )@([\w-]+)(?= |$)", hashes, user, count=1) for user in users]
    return "".join(re.sub(r"\$(\w+)", lambda match: names[match[1]], user) + "\n" for user in made)


def new_password() -> str:
    """256 bits; letters, digits, ``-`` and ``_`` only, so that it stands in a URL as it is."""
    return secrets.token_urlsafe(32)


def changed(old: Passwords, *, rotate: bool, retire: bool) -> Passwords:
    """The passwords after a call; whoever has none gets one."""
    new: Passwords = {}
    for user in (*USERS, TOKEN_KEY):
        kept = old.get(user) or [new_password()]
        if rotate and user in old:
            # Never three: whoever rotates twice without retiring keeps what is in use, which is the newest.
            kept = [new_password(), kept[0]]
        new[user] = kept[:1] if retire else kept
    return new


def files(passwords: Passwords, *, tls: bool) -> dict[str, str]:
    """The content of all files, by name."""
    scheme, options = ("rediss", f"?ssl_ca_certs={CA_PATH}") if tls else ("redis", "")
    made = {
        "users.acl": acl_file((TEMPLATES / "users.acl.template").read_text(), passwords),
        "sentinel-users.acl": acl_file((TEMPLATES / "sentinel-users.acl.template").read_text(), passwords),
        "redis-autoscaler.env": f"username=autoscaler\npassword={passwords['autoscaler'][0]}\n",
        "redis-internal.env": "".join(
            f"{user}={passwords[user][0]}\n" for user in ("probe", "replica", "sentinel", "failover")
        ),
        # The first signs, both are taken. The second file is for `stenoflow token --key-file`, no Secret is made of it.
        "gateway-token-key.env": f"key={','.join(passwords[TOKEN_KEY])}\n",
        "token.key": "".join(f"{key}\n" for key in passwords[TOKEN_KEY]),
    }
    for user in SERVICES:
        made[f"redis-{user}.env"] = f"url={scheme}://{user}:{passwords[user][0]}@redis:6379/0{options}\n"
    made["kustomization.yaml"] = kustomization()
    return made


def kustomization() -> str:
    """Secrets of services have a hash in their name, so that a new password rolls their pods; Redis' own have none:
    it reads its users again without a restart (``ACL LOAD``)."""
    lines = ["# Made by make_secrets.py.", "apiVersion: kustomize.config.k8s.io/v1alpha1", "kind: Component"]
    lines.append("secretGenerator:")
    for name in (*(f"redis-{service}" for service in SERVICES), "gateway-token-key"):
        lines += [f"  - name: {name}", f"    envs: [{name}.env]"]
    for name, source in (
        ("redis-autoscaler", "envs: [redis-autoscaler.env]"),
        ("redis-internal", "envs: [redis-internal.env]"),
        ("redis-users", "files: [users.acl]"),
        ("redis-sentinel-users", "files: [users.acl=sentinel-users.acl]"),
    ):
        lines += [f"  - name: {name}", f"    {source}", "    options: {disableNameSuffixHash: true}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overlay", type=Path, help="folder of the overlay, e.g. k8s/overlays/production")
    parser.add_argument("--tls", action="store_true", help="addresses with rediss://, as components/tls needs them")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--rotate", action="store_true", help="new passwords; the old ones are taken too")
    either.add_argument("--retire", action="store_true", help="the old ones are taken no more")
    given = parser.parse_args()
    folder: Path = given.overlay / "secrets"
    if not (given.overlay / "kustomization.yaml").is_file():
        parser.error(f"{given.overlay} is no overlay: it has no kustomization.yaml")
    folder.mkdir(mode=0o700, exist_ok=True)
    book = folder / "passwords.json"
    known = json.loads(book.read_text()) if book.is_file() else {"passwords": {}, "tls": False}
    passwords = changed(known["passwords"], rotate=given.rotate, retire=given.retire)
    tls = given.tls or known["tls"]
    write(book, json.dumps({"passwords": passwords, "tls": tls}, indent=2) + "\n")
    for name, content in files(passwords, tls=tls).items():
        write(folder / name, content)
    scheme = "rediss://" if tls else "redis://"
    print(f"{folder}: {len(USERS)} users, {scheme}; keep it secret, keep passwords.json safe")


def write(path: Path, content: str) -> None:
    """A file that only its owner may read, whole or not at all."""
    new = path.with_suffix(path.suffix + ".new")
    new.touch(mode=0o600)
    new.write_text(content)
    new.replace(path)


if __name__ == "__main__":
    main()
