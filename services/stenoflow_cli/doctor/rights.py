"""What each program's user may do in Redis: tried without doing it.

Commands are queued in a transaction that an unknown command spoils, so that none of them is carried out: Redis checks
rights as it queues. The list is that of ``k8s/base/redis/users.acl.template``, whose test runs this against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from redis.exceptions import NoPermissionError

from stenoflow.bus.redis.connection import Link, pack
from stenoflow.bus.redis.errors import Reply
from stenoflow.bus.redis.keys import GROUP

SHARD = "sf:{s00}"
RECORD = f"{SHARD}:s00-ffffffffffffffff"
TRACK = f"{RECORD}:0:doctor"
CLAIMS = f"{SHARD}:claims"
INPUTS = {"features": "audio", "acoustic": "features", "decoder": "emissions", "second-pass": "drafts"}
OUTPUTS = {"features": "features", "acoustic": "emissions", "decoder": "finals", "second-pass": "finals"}
USERS = ("gateway", *INPUTS)

Command = tuple[str | int, ...]


def needed_by(user: str) -> Iterator[Command]:
    """One command for each right that the program of this name cannot do without."""
    yield ("INFO",)
    yield ("HMGET", RECORD, "record")
    yield ("HSET", RECORD, "record", "")
    yield ("HSET", f"{TRACK}:progress", "none", "")
    yield ("EXPIRE", f"{TRACK}:progress", 1)
    if user == "gateway":
        yield ("ZADD", f"{SHARD}:sessions", 0, "none")
        yield ("ZRANGEBYSCORE", f"{SHARD}:kept", 0, 0)
        for log in ("audio", "features", "emissions", "drafts", "finals", "live"):
            yield ("XADD", f"{TRACK}:{log}", "NOMKSTREAM", "*", "h", "")
            yield ("UNLINK", f"{TRACK}:{log}")
        for log in ("finals", "drafts", "live"):
            yield ("XREAD", "STREAMS", f"{TRACK}:{log}", "0")
        yield ("XREVRANGE", f"{TRACK}:audio", "+", "-", "COUNT", 1)
        for stage in INPUTS:
            claims = f"{CLAIMS}:{stage.replace('-', '_')}:none"
            yield ("XGROUP", "CREATE", claims, GROUP, "0")
            yield ("XADD", claims, "NOMKSTREAM", "*", "t", "")
            yield ("XLEN", claims)
        yield ("HGET", "sf:workers:features:none", "status")
        yield ("SET", "sf:tickets:none", "", "EX", 1)
        yield ("ZADD", "sf:tenants:{none}:open", 0, "none")
        return
    stage = user.replace("-", "_")
    claims = f"{CLAIMS}:{stage}" + ("" if user == "features" else ":none")
    yield ("XREAD", "STREAMS", f"{TRACK}:{INPUTS[user]}", "0")
    yield ("XTRIM", f"{TRACK}:{INPUTS[user]}", "MINID", "0")
    yield ("XADD", f"{TRACK}:{OUTPUTS[user]}", "NOMKSTREAM", "*", "h", "")
    yield ("XREVRANGE", f"{TRACK}:{OUTPUTS[user]}", "+", "-", "COUNT", 1)
    yield ("XREADGROUP", "GROUP", GROUP, "doctor", "COUNT", 1, "STREAMS", claims, ">")
    yield ("XAUTOCLAIM", claims, GROUP, "doctor", 3_600_000, "0", "COUNT", 1)
    yield ("XACK", claims, GROUP, "0-1")
    yield ("XDEL", claims, "0-1")
    yield ("ZADD", f"sf:workers:{stage}", 0, "none")
    yield ("HSET", f"sf:workers:{stage}:none", "status", "")


async def refused(link: Link, commands: Sequence[Command]) -> list[str]:
    """Of these commands those that the link's user may not do, by name and key; none of them is carried out.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    spoiled = [pack("MULTI"), *(pack(*command) for command in commands), pack("STENOFLOW.DOCTOR"), pack("EXEC")]
    _, *replies, _, _ = await link.ask(spoiled, len(spoiled))
    return [
        " ".join(str(part) for part in command[:2])
        for command, reply in zip(commands, replies, strict=True)
        if _is_refusal(reply)
    ]


def _is_refusal(reply: Reply) -> bool:
    return isinstance(reply, NoPermissionError) or (isinstance(reply, Exception) and "NOPERM" in str(reply))
