"""A deployment: its Redis, who works on what, and the gateway."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import cast
from urllib.parse import unquote, urlsplit

from redis.exceptions import ResponseError

from stenoflow import __version__
from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import StenoflowError
from stenoflow.bus.records import NEEDED, SessionState, Stages, WorkerStatus, claims_bundle
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.cluster import Cluster, is_cluster
from stenoflow.bus.redis.connection import Link, Server, pack
from stenoflow_cli.doctor.finding import Finding, ok, warn, wrong
from stenoflow_cli.doctor.rights import USERS, needed_by, refused
from stenoflow_cli.gateway import GatewayClient

DEADLINE_S = 5.0
CLOCK_S = (1.0, 5.0)
"""Differences: from the first on latencies are told wrong, from the second on workers do not count as alive."""

FULL = (0.5, 0.7)
"""Shares of Redis' memory: from the second on no call begins."""

NEWS_S = 1.5
"""After so long every worker has said anew how many tracks it holds."""


async def look_at_redis(url: str, shards: int) -> AsyncIterator[Finding]:
    """The server, or every master of a cluster, and the workers that use it.

    Args:
        url: as the services are given it.
        shards: the same.
    """
    try:
        for server in await _servers(url):
            async for finding in look_at_server(server, alone=not is_cluster(url)):
                yield finding
    except StenoflowError as error:
        yield wrong("redis", error)
        return
    bus = await RedisBus.connect(url, SystemClock(), shards=shards)
    try:
        async for finding in look_at_workers(bus):
            yield finding
    except StenoflowError as error:
        if error.code == "redis_denied":
            yield warn("workers", "this user may not see who works: give the address with the gateway's user")
        else:
            yield wrong("workers", error)
    finally:
        await bus.close()


async def _servers(url: str) -> Sequence[Server]:
    if not is_cluster(url):
        server = Server(url, deadline_s=DEADLINE_S)
        await server.check()
        return [server]
    cluster = Cluster(url, deadline_s=DEADLINE_S)
    await cluster.check()
    return cluster.masters


async def look_at_server(server: Server, *, alone: bool) -> AsyncIterator[Finding]:
    """One server, which was checked.

    Args:
        server: it.
        alone: it has every key; a master of a cluster sends all others away, and rights are not tried there.

    Raises:
        BusUnavailable: it does not answer.
    """
    link = await server.connect()
    info = _fields(cast(bytes, await link.ask_one("INFO")))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
    yield ok("redis", f"{name} at {server.safe_url}, which refuses rather than forgets when it is full")
    yield memory(info)
    for finding in persistence(info):
        yield finding
    if alone:
        yield await rights(link, unquote(urlsplit(server.url).username or ""))
    yield await clock(link)
    link.close()


def _fields(info: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)


def memory(info: dict[str, str]) -> Finding:
    """How full it is."""
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if limit == 0:
        return warn("redis memory", "it has no limit, and ends with the machine's: set maxmemory to what it may take")
    share = used / limit
    sentence = f"{used / 2**20:.0f} of {limit / 2**20:.0f} MB are used"
    if share >= FULL[1]:
        return wrong("redis memory", f"{sentence}, and no call begins from 70 % on: raise maxmemory, or keep less")
    if share >= FULL[0]:
        return warn("redis memory", f"{sentence}; no call begins from 70 % on: raise maxmemory, or keep less")
    return ok("redis memory", sentence)


def persistence(info: dict[str, str]) -> Sequence[Finding]:
    """What a restart leaves, and whether writing to disk fails, which stops all writes."""
    found = []
    for field, what in (("rdb_last_bgsave_status", "snapshots"), ("aof_last_write_status", "append-only file")):
        if info.get(field, "ok") != "ok":
            found.append(wrong("redis disk", f"its {what} cannot be written, so it may refuse writes: see to its disk"))
    if info.get("aof_enabled") == "1":
        found.append(ok("redis disk", "it keeps an append-only file: calls go on over a restart as if it were a pause"))
    else:
        found.append(
            warn(
                "redis disk",
                "it keeps no append-only file: after a restart open calls go on from what their clients still have, "
                "and captions of ended ones are gone; set appendonly yes if that is too little",
            )
        )
    return found


async def rights(link: Link, user: str) -> Finding:
    """What the user of the address may do: what its program needs, or, of any other user, what any program needs."""
    names = (user,) if user in USERS else USERS
    commands = list(dict.fromkeys(command for name in names for command in needed_by(name)))
    missing = await refused(link, commands)
    who = f"the user '{user}'" if user else "the usual user"
    if not missing:
        return ok("redis rights", f"{who} may do all that {names[0] if len(names) == 1 else 'every program'} needs")
    shown = "; ".join(missing[:3]) + (f"; and {len(missing) - 3} more" if len(missing) > 3 else "")
    return wrong(
        "redis rights", f"{who} may not: {shown}; give it what k8s/base/redis/users.acl.template has for its program"
    )


async def clock(link: Link) -> Finding:
    """This machine's against Redis'."""
    before = time.time()
    try:
        seconds, micros = cast(list[bytes], (await link.ask(pack("TIME"), 1))[0])
    except (TypeError, ValueError, ResponseError):
        return ok("clock", "this user may not ask Redis for its time, so the clocks are not compared")
    difference = abs(int(seconds) + int(micros) / 1e6 - (before + time.time()) / 2)
    wrong_from, dead_from = CLOCK_S
    sentence = f"this machine and Redis' are {difference:.1f} s apart"
    if difference >= dead_from:
        return wrong("clock", f"{sentence}, and workers whose clocks are 5 s off count as dead: set both by NTP")
    if difference >= wrong_from:
        return warn("clock", f"{sentence}: set both by NTP, or latencies are told wrong")
    return ok("clock", sentence)


async def look_at_workers(bus: RedisBus) -> AsyncIterator[Finding]:
    """Of each stage who is there, and whether tracks wait for somebody."""
    records = bus.records()
    workers = await records.workers(SystemClock().wall_ms())
    for stage in Stages:
        mine = [worker for worker in workers if worker.stage is stage]
        if mine:
            places, held = sum(worker.places for worker in mine), sum(worker.held for worker in mine)
            kinds = sorted({worker.bundle for worker in mine if worker.bundle})
            sentence = f"{len(mine)} of them hold {held} of {places} tracks" + (
                f", with {', '.join(kinds)}" * bool(kinds)
            )
            yield ok(f"{stage} workers", sentence)
        elif stage in NEEDED:
            program = f"stenoflow-{stage.value}"
            yield wrong(f"{stage} workers", f"there is none, so no call can begin: start `{program}`, or see its log")
        else:
            yield ok(f"{stage} workers", "there is none: captions stay as they are first heard")
    versions = sorted({worker.version for worker in workers if worker.version} | {__version__})
    if len(versions) > 1:
        yield warn("versions", f"{', '.join(versions)} work together: bring all programs to one")
    async for finding in _waiting(bus, workers):
        yield finding


async def _waiting(bus: RedisBus, workers: Sequence[WorkerStatus]) -> AsyncIterator[Finding]:
    """Tracks that nobody holds, by the claims that they are in."""
    records = bus.records()
    waiting = await _unheld(bus, workers)
    if waiting:  # a call that has just begun is nobody's for a moment
        await asyncio.sleep(NEWS_S)
        workers = await records.workers(SystemClock().wall_ms())
        again = await _unheld(bus, workers)
        waiting = {claims: min(count, again[claims]) for claims, count in waiting.items() if again.get(claims)}
    for (stage, bundle), count in sorted(waiting.items()):
        able = [worker for worker in workers if worker.stage is stage and _serves(worker, bundle)]
        who = f"{stage} workers" + (f" with {bundle}" if bundle else "")
        if not able:
            yield wrong("claims", f"{count} tracks wait for {who}, and there is none: start one")
        elif sum(worker.places - worker.held for worker in able) <= 0:
            yield wrong("claims", f"{count} tracks wait for {who}, and all of these are full: start another one")
        else:
            yield wrong("claims", f"{count} tracks wait for {who}, which have room and take none: see their logs")
    if not waiting:
        yield ok("claims", "no track waits for a worker")


async def _unheld(bus: RedisBus, workers: Sequence[WorkerStatus]) -> dict[tuple[Stages, str], int]:
    records = bus.records()
    found = await records.get_many(await records.sessions())
    alive = [record for record in found if record is not None and record.state is SessionState.OPEN]
    claims = {(stage, claims_bundle(stage, record)) for record in alive for stage in record.stages}
    held: Counter[tuple[Stages, str]] = Counter()
    for worker in workers:
        for stage, bundle in claims:
            if worker.stage is stage and _serves(worker, bundle):
                held[(stage, bundle)] += worker.held
    counts = {(stage, name): await bus.claims(stage, "doctor", name).open_tracks() for stage, name in claims}
    return {each: count - held[each] for each, count in counts.items() if count > held[each]}


def _serves(worker: WorkerStatus, bundle: str) -> bool:
    """Workers name their bundle with its hash, claims without; a second pass' worker names its model."""
    return not bundle or worker.bundle.partition("@")[0] == bundle


async def look_at_gateway(gateway: GatewayClient, *, asked: bool) -> AsyncIterator[Finding]:
    """Whether it takes calls, and of which version it is.

    Args:
        gateway: where to ask.
        asked: it was named; else nobody says that there must be one.
    """
    try:
        status, text = await gateway.text("/readyz")
    except StenoflowError as error:
        if asked:
            yield wrong("gateway", error)
        else:
            yield ok(
                "gateway", f"none answers at {gateway.page}: start one with `stenoflow up`, or name yours with --url"
            )
        return
    lines = text.splitlines()
    if status == 200 and lines[:1] == ["ok"]:
        yield ok("gateway", f"{gateway.page} takes calls; {'; '.join(lines[1:])}")
    elif status == 503:
        yield wrong("gateway", f"{gateway.page} takes no calls: {text.strip()}")
    else:
        yield wrong("gateway", f"what answers at {gateway.page} is no Stenoflow gateway (HTTP {status}): correct --url")
    for line in lines:
        name, _, version = line.partition(": ")
        if name == "version" and version != __version__:
            yield warn("gateway", f"it is of version {version}, this is {__version__}: bring both to one")
