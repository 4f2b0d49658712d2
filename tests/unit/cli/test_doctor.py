"""The doctor: each thing that can be wrong is made wrong, and is said so with what to do."""

from __future__ import annotations

import io
import json
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from msgspec.structs import replace
from rich.console import Console

from stenoflow import __version__
from stenoflow.base.clock import SystemClock
from stenoflow.bundle.loading import CARD, find_bundle
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import NEEDED, Stages, WorkerStatus
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.embedded import EmbeddedRedis
from stenoflow_cli.doctor import deployment, machine
from stenoflow_cli.doctor.deployment import look_at_gateway, look_at_redis, look_at_workers, persistence
from stenoflow_cli.doctor.finding import Finding, Level, ok, warn, wrong
from stenoflow_cli.doctor.report import show
from stenoflow_cli.gateway import GatewayClient
from tests import servers
from tests.contract.worlds import session
from tests.unit.gateway.harness import running_gateway

OK, WARN, WRONG = Level


# ---------------------------------------------------------------- the machine


def test_packages_that_lack_or_are_of_another_version_are_named() -> None:
    wanted = [
        "pytest>=1; extra == 'gateway'",
        "no-such-package>=1; extra == 'features'",
        "pytest>=1000; extra == 'decoder'",
    ]
    found = {finding.what: finding for finding in machine.packages(wanted)}
    assert [found[name].level for name in ("gateway", "features", "decoder")] == [OK, WARN, WRONG]
    assert "no-such-package" in found["features"].sentence and "pip install" in found["features"].sentence
    assert "wanted: >=1000" in found["decoder"].sentence


@pytest.mark.parametrize(("version", "level"), [((3, 10), WRONG), ((3, 11), OK), ((3, 13), WRONG)])
def test_a_python_that_is_not_supported_is_told(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], level: Level
) -> None:
    monkeypatch.setattr(machine, "sys", SimpleNamespace(version_info=(*version, 0), prefix="here"))
    assert machine.python().level is level


def test_a_processor_without_avx2_is_told() -> None:
    assert "AVX2" in machine.processor("flags\t\t: fpu sse4_2\n").sentence
    assert machine.processor("flags\t\t: fpu sse4_2\n").level is WARN
    assert "avx512_vnni" in machine.processor("flags\t\t: avx2 avx512_vnni\n").sentence


def test_little_memory_is_told() -> None:
    assert machine.memory("MemAvailable:   500000 kB\n").level is WARN
    assert machine.memory("MemAvailable:  5000000 kB\n").level is OK


@pytest.mark.parametrize(("free", "level"), [(50 * 2**20, WRONG), (500 * 2**20, WARN), (50 * 2**30, OK)])
def test_a_disk_that_fills_up_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, level: Level) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert machine.disk(tmp_path).level is level


def test_a_bundle_that_was_changed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(find_bundle("en-small"), mine)
    card = json.loads((mine / CARD).read_text())
    with (mine / next(iter(card["files"]))).open("ab") as file:
        file.write(b"x")
    monkeypatch.setattr(machine, "model_folders", lambda: [find_bundle("en-small").parent, tmp_path])
    assert [finding.level for finding in machine.bundles()] == [OK, WRONG]
    monkeypatch.setattr(machine, "model_folders", lambda: [tmp_path / "none"])
    assert [finding.level for finding in machine.bundles()] == [WARN]


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "is taken" in machine.port_of(*server.getsockname()).sentence
    assert "free" in machine.port_of("127.0.0.1", 0).sentence


# ---------------------------------------------------------------- Redis


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(servers.binary_of("redis-newest"), max_memory_mb=512) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as made:
        yield made
        made.config_set("maxmemory", "512mb")
        made.config_set("maxmemory-policy", "noeviction")
        made.flushall()


@pytest.fixture
async def bus(server: EmbeddedRedis, client: redis.Redis) -> AsyncIterator[RedisBus]:
    made = await RedisBus.connect(server.url, SystemClock())
    yield made
    await made.close()


async def told(url: str) -> dict[str, Finding]:
    return {finding.what: finding async for finding in look_at_redis(url, shards=1)}


async def test_a_server_that_does_is_told_so_and_nothing_is_left_there(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    found = await told(server.url)
    assert [found[what].level for what in ("redis", "redis memory", "redis rights", "clock", "claims")] == [OK] * 5
    assert found["redis disk"].level is WARN, "this one keeps nothing"
    assert client.keys("*") == []


async def test_a_server_that_forgets_or_is_not_there_is_told(server: EmbeddedRedis, client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    [finding] = (await told(server.url)).values()
    assert finding.level is WRONG and "noeviction" in finding.sentence
    [finding] = (await told("redis://user:secret@127.0.0.1:1/0")).values()
    assert finding.level is WRONG and "secret" not in finding.sentence


async def test_every_master_of_a_cluster_is_looked_at() -> None:
    with servers.cluster("redis-newest") as hosts:
        url = f"redis+cluster://{','.join(hosts)}"
        found = [finding async for finding in look_at_redis(url, shards=6)]
    clocks = [finding.level for finding in found if finding.what == "clock"]
    assert clocks == [OK] * 3
    assert {finding.sentence.split()[3].rstrip(",") for finding in found if finding.what == "redis"} == {
        f"redis://{host}" for host in hosts
    }
    assert [finding.level for finding in found if finding.what == "claims"] == [OK]


@pytest.mark.parametrize(("share", "level"), [(0.3, OK), (0.6, WARN), (0.9, WRONG)])
async def test_a_server_that_fills_up_is_told(
    server: EmbeddedRedis, client: redis.Redis, share: float, level: Level
) -> None:
    client.config_set("maxmemory", round(int(client.info("memory")["used_memory"]) / share))  # type: ignore[index]
    assert (await told(server.url))["redis memory"].level is level
    client.config_set("maxmemory", 0)
    assert (await told(server.url))["redis memory"].level is WARN


def test_a_disk_on_which_redis_cannot_write_is_told() -> None:
    assert [finding.level for finding in persistence({"aof_enabled": "1"})] == [OK]
    assert [finding.level for finding in persistence({"aof_enabled": "1", "aof_last_write_status": "err"})] == [
        WRONG,
        OK,
    ]
    assert [finding.level for finding in persistence({"rdb_last_bgsave_status": "err"})] == [WRONG, WARN]


async def test_clocks_that_differ_are_told(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = deployment.time.time
    for ahead, level in ((0.0, OK), (2.0, WARN), (-60.0, WRONG)):
        monkeypatch.setattr(deployment, "time", SimpleNamespace(time=lambda ahead=ahead: real() + ahead))
        assert (await told(server.url))["clock"].level is level


# ---------------------------------------------------------------- who works


async def announced(bus: RedisBus, *, without: Stages | None = None, held: int = 0, version: str = __version__) -> None:
    for stage in NEEDED:
        if stage is not without:
            bundle = "" if stage is Stages.FEATURES else "test@abc"
            status = WorkerStatus(f"{stage}-1", stage, 4, held, bundle, version)
            await bus.records().announce(status, SystemClock().wall_ms())


async def opened(bus: RedisBus) -> None:
    record = replace(session(2), bundle="test")
    assert await bus.records().open(record, opening_entries(record)) is not None


async def worked(bus: RedisBus) -> list[Finding]:
    return [finding async for finding in look_at_workers(bus) if finding.level is not OK]


async def test_a_stage_without_workers_is_told_and_the_tracks_that_wait_for_it(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "NEWS_S", 0.0)
    await announced(bus, held=2, without=Stages.DECODER)
    await opened(bus)
    stage, claims = await worked(bus)
    assert (stage.what, stage.level) == ("decoder workers", WRONG) and "stenoflow-decoder" in stage.sentence
    assert claims.sentence == "2 tracks wait for decoder workers with test, and there is none: start one"


@pytest.mark.parametrize(("held", "why"), [(0, "take none"), (2, None)])
async def test_tracks_that_nobody_takes_are_told(
    bus: RedisBus, monkeypatch: pytest.MonkeyPatch, held: int, why: str | None
) -> None:
    monkeypatch.setattr(deployment, "NEWS_S", 0.0)
    await announced(bus, held=held)
    await opened(bus)
    found = await worked(bus)
    assert [finding.level for finding in found] == ([WRONG] * 3 if why else [])
    assert all(why in finding.sentence for finding in found if why)


async def test_versions_that_differ_are_told(bus: RedisBus) -> None:
    await announced(bus, version="0.0.1")
    [finding] = await worked(bus)
    assert finding.level is WARN and "0.0.1" in finding.sentence and __version__ in finding.sentence


# ---------------------------------------------------------------- the gateway


async def asked(url: str, **options: Any) -> list[Finding]:
    return [finding async for finding in look_at_gateway(GatewayClient(url), **{"asked": True, **options})]


async def test_a_gateway_says_whether_it_takes_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_gateway() as running:
        assert [finding.level for finding in await asked(running.url)] == [OK]
        monkeypatch.setattr(deployment, "__version__", "9.9.9")
        assert "9.9.9" in (await asked(running.url))[-1].sentence
    async with running_gateway(workers=False) as running:
        [finding] = await asked(running.url)
        assert finding.level is WRONG and "decoder" in finding.sentence


async def test_a_gateway_that_is_not_there_is_wrong_where_it_was_named() -> None:
    assert [finding.level for finding in await asked("127.0.0.1:1")] == [WRONG]
    assert [finding.level for finding in await asked("127.0.0.1:1", asked=False)] == [OK]


# ---------------------------------------------------------------- the report


@pytest.mark.parametrize(("finding", "code"), [(ok("a", "b"), 0), (warn("a", "b"), 0), (wrong("a", "b"), 1)])
def test_the_exit_code_is_1_where_something_is_wrong(finding: Finding, code: int) -> None:
    for as_json in (True, False):
        assert show([finding], Console(file=io.StringIO()), as_json=as_json) == code


def test_lines_are_told_apart_without_colour_and_hold_what_came_from_elsewhere() -> None:
    output = io.StringIO()
    show(
        [ok("disk", "fine"), warn("port", "x"), wrong("redis", "pip install -e '.[x]'")],
        Console(file=output),
        as_json=False,
    )
    assert output.getvalue().splitlines() == [
        "✓ ok    disk   fine",
        "• warn  port   x",
        "✗ wrong redis  pip install -e '.[x]'",
        "1 wrong, 1 to be seen to",
    ]
    output = io.StringIO()
    show([wrong("redis", "gone")], Console(file=output), as_json=True)
    assert json.loads(output.getvalue())["findings"] == [{"level": "wrong", "what": "redis", "sentence": "gone"}]
