"""The compose file's stack, up for real: captions through it, each service restarted in a call, Prometheus over all."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis

from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import transcribe
from stenoflow_cli.stages import all_stages
from stenoflow_cli.up import OFF
from stenoflow_decoder import model as decoding
from stenoflow_decoder.language_model import FlashlightLm
from stenoflow_second_pass.models.moonshine import NAME
from tests.ops.compose_stack import IMAGES, PROMETHEUS, ComposeStack, build_images, inspect
from tests.pipeline.calls import sample_sound, speak, texts

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

EVERYWHERE = {"redis", *IMAGES}
WRITE = "import os, pathlib; print(os.getuid()); pathlib.Path('/tmp/x').touch(); pathlib.Path('/usr/local/x').touch()"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    build_images()
    stack = ComposeStack(tmp_path_factory.mktemp("compose"), "stenoflow-test", appendonly=True)
    try:
        stack.up(sorted(EVERYWHERE))
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="module")
def undisturbed() -> Mapping[int, list[tuple[int, int, str]]]:
    """What both passes say in one process."""
    messages = transcribe(all_stages("en-small", NAME), sample_sound())
    finals = [wire.Final.model_validate(each) for each in messages if each["type"] == "final" and each["text"]]
    return {track: texts(finals, track) for track in (0, 1)}


async def test_captions_come_through_it(
    stack: ComposeStack, undisturbed: Mapping[int, list[tuple[int, int, str]]]
) -> None:
    finals, _ = await speak(stack.stream_url, pace=None)
    for track in (0, 1):
        assert texts(finals, track) == undisturbed[track], stack.last_words()
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/", timeout=10) as page:
        assert b"<html" in page.read()


@pytest.mark.parametrize("service", IMAGES)
def test_a_service_is_nobody_and_writes_nowhere_but_tmp(stack: ComposeStack, service: str) -> None:
    container = stack.container(service)
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    assert not any("redis://" in each for each in [*container["Config"]["Env"], *(container["Args"] or ())])
    told = subprocess.run(
        ["docker", "exec", container["Id"], "python", "-c", WRITE], capture_output=True, text=True, timeout=60
    )
    assert told.stdout.split() == ["10001"]
    assert "Read-only file system: '/usr/local/x'" in told.stderr
    shell = subprocess.run(
        ["docker", "exec", container["Id"], "/bin/sh", "-c", "true"], capture_output=True, timeout=60
    )
    assert shell.returncode != 0, "the stack must be tested without a shell"


def test_redis_asks_who_is_there(stack: ComposeStack) -> None:
    nobody = redis.Redis(port=stack.redis_port)
    with pytest.raises(redis.AuthenticationError):
        nobody.ping()
    nobody.close()


@pytest.mark.parametrize("service", ["gateway", "features", "acoustic", "decoder", "redis"])
async def test_a_restart_in_a_call_loses_and_doubles_nothing(
    stack: ComposeStack, undisturbed: Mapping[int, list[tuple[int, int, str]]], service: str
) -> None:
    finals, resumes = await _restarted_meanwhile(stack, service)
    for track in (0, 1):
        assert texts(finals, track) == undisturbed[track], stack.last_words()
    if service == "gateway":
        assert resumes > 0
    if service == "redis":
        assert "new epoch opened" not in stack.run("logs", "--no-color", "gateway"), "Redis came back without its data"


async def test_while_the_second_pass_restarts_utterances_stay_as_they_were_first_heard(
    stack: ComposeStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals, _ = await _restarted_meanwhile(stack, "second-pass")
    # The image has no `kenlm`: now and then another reading wins with the other library.
    monkeypatch.setattr(decoding, "load_language_model", FlashlightLm)
    again, first = (
        {
            (each["track"], each["utterance"]): each["text"]
            for each in transcribe(all_stages("en-small", model), sample_sound())
            if each["type"] == "final" and each["text"]
        }
        for model in (NAME, OFF)
    )
    heard = [(final.track, final.utterance) for final in finals]
    assert len(heard) == len(set(heard))
    assert set(heard) >= first.keys(), stack.last_words()
    for final in finals:
        key = (final.track, final.utterance)
        assert final.text in (again.get(key), first.get(key)), (
            f"{key} is {final.text!r}; heard again it would be {again.get(key)!r}, and it was {first.get(key)!r}\n"
            + stack.last_words()
        )


async def _restarted_meanwhile(stack: ComposeStack, service: str) -> tuple[list[wire.Final], int]:
    """A call during which one service is restarted; it is healthy again afterwards."""
    begun: list[subprocess.Popen[str]] = []
    before = stack.container(service)["State"]["StartedAt"]

    def restart(second: float) -> None:
        if second > 8 and not begun:
            begun.append(stack.start("restart", service))

    finals, resumes = await speak(stack.stream_url, pace=1.5, during=restart)
    (process,) = begun
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    assert stack.container(service)["State"]["StartedAt"] != before
    stack.up(sorted(EVERYWHERE))
    return list(finals), resumes


def test_prometheus_sees_every_service_and_the_alerts(stack: ComposeStack) -> None:
    try:
        inspect("image", PROMETHEUS)
    except AssertionError:
        pytest.skip(f"no image {PROMETHEUS}")
    stack.up([*sorted(EVERYWHERE), "prometheus"])
    up = _until_all_are_up()
    assert up == set(IMAGES)
    groups = _asked("/api/v1/rules")["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} >= {"StenoflowLag", "StenoflowRedisMemory"}
    assert all(rule["health"] != "err" for group in groups for rule in group["rules"])
    (found,) = _asked("/api/v1/query?query=count(stenoflow_worker_places{job!=%22gateway%22})")["result"]
    assert int(found["value"][1]) == len(IMAGES) - 1, "one worker a stage"


def _until_all_are_up() -> set[str]:
    """The jobs with a target that was scraped; looks until all are there, or ten scrapes' time has gone."""
    import time

    deadline = time.monotonic() + 50
    while True:
        targets = _asked("/api/v1/targets?state=active")["activeTargets"]
        up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
        if up == set(IMAGES) or time.monotonic() > deadline:
            return up
        time.sleep(0.5)


def _asked(path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:9090{path}", timeout=10) as answer:
        return json.load(answer)["data"]
