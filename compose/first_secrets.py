"""Passwords of the compose stack: made at its first start, kept in its volumes, written again at each start.

Each service gets one file, with its address of Redis and the password of its own Redis user; Redis gets the users.
What each user may do is what Kubernetes' Redis has (``k8s/base/redis/users.acl.template``). Runs in a container of its
own without a network, with one volume a service at ``/secrets``; needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, "/k8s")

from make_secrets import SERVICES, TEMPLATES, acl_file, changed  # the folder is mounted there

VOLUMES = Path("/secrets")
ADDRESSES = {"gateway": f"127.0.0.1:{os.environ['REDIS_PORT']}"}
"""Where Redis is: the gateway looks from the host's network, all others from the stack's."""


def write(path: Path, content: str) -> None:
    """A file that whoever has the volume can read, whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(content)
    new.chmod(0o444)
    new.replace(path)


def main() -> None:
    """Writes all files."""
    redis = VOLUMES / "redis"
    book = redis / "passwords.json"
    passwords = changed(json.loads(book.read_text()) if book.is_file() else {}, rotate=False, retire=False)
    write(book, json.dumps(passwords))
    for service in SERVICES:
        address = ADDRESSES.get(service, "redis:6379")
        url = f"redis://{service}:{passwords[service][0]}@{address}/0"
        write(VOLUMES / service / f"stenoflow_{service.replace('-', '_')}_redis", url)
    for user in ("probe", "operator"):
        write(redis / user, passwords[user][0])
    write(redis / "users.acl", acl_file((TEMPLATES / "users.acl.template").read_text(), passwords))


if __name__ == "__main__":
    main()
