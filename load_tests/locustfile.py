"""The same calls for those who know Locust: its users, its ramps, its page; our speakers and our measures.

    pip install -e '.[load]'
    locust -f load_tests/locustfile.py --host ws://127.0.0.1:8000 --headless --users 5 --spawn-rate 1 --run-time 60s

A user makes one two-sided call after the other. Locust's clock is of no use for streams (a call is no request), so each
call is made by :mod:`load_tests.generator`, and each of its measures is reported as one: ``word``, ``first_partial``,
``final`` and ``chunk``, in milliseconds. A call that is refused or loses something is a failure.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import gevent
import msgspec
from gevent.event import AsyncResult
from gevent.subprocess import PIPE, Popen
from locust import User, between, events
from locust.env import Environment
from locust.runners import MasterRunner

from load_tests.generator import READY, Call, Outcome
from load_tests.scenario import Scenario
from load_tests.voices import kind_of
from stenoflow_cli.up import ONE_THREAD

SECONDS = float(os.environ.get("CALL_SECONDS", "30"))
LEAD_S = 0.5
MIX = Scenario(title="locust", ladder=(2,)).mix
PROTOCOL = "stenoflow.v1"


class Caller:
    """This worker's generator process; calls are told to it, and waited for without holding up other users."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "load_tests.generator"]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, env={**os.environ, **ONE_THREAD})
        if self._process.stdout.readline() != READY:
            raise RuntimeError(f"the load generator did not start (exit code {self._process.wait()})")
        self._waiting: dict[int, AsyncResult[Outcome]] = {}
        self._reading = gevent.spawn(self._read)

    def call(self, asked: Call) -> Outcome:
        """Makes a call; returns when it is over."""
        found: AsyncResult[Outcome] = AsyncResult()
        self._waiting[asked.number] = found
        self._process.stdin.write(msgspec.json.encode(asked) + b"\n")
        self._process.stdin.flush()
        outcome: Outcome = found.get()
        return outcome

    def stop(self) -> None:
        """Ends the process and whoever waits for it."""
        self._reading.kill()
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        for line in self._lines():
            outcome = msgspec.json.decode(line, type=Outcome)
            self._waiting.pop(outcome.number).set(outcome)
        for waiting in self._waiting.values():
            waiting.set_exception(RuntimeError("the load generator ended in the middle of calls"))

    def _lines(self) -> Iterator[bytes]:
        return iter(self._process.stdout.readline, b"")


caller: Caller | None = None
numbers = itertools.count()


def _start(environment: Environment, **_: Any) -> None:
    """Before the test's time runs: the generator takes seconds to start."""
    global caller
    if not isinstance(environment.runner, MasterRunner):
        caller = Caller()


def _stop(**_: Any) -> None:
    if caller is not None:
        caller.stop()


events.init.add_listener(_start)
events.quitting.add_listener(_stop)


class Line(User):  # type: ignore[misc]  # locust has no types where it is not installed
    """One line: two-sided calls, one after the other."""

    wait_time = between(0.5, 2)

    def call(self) -> None:
        """One call, and what it measured."""
        assert caller is not None
        number = next(numbers)
        kind = kind_of(MIX, number)
        url = f"{(self.host or '').rstrip('/')}/v1/stream"
        asked = Call(
            number, number, kind.name, kind.sample_rate, kind.telephone, url, time.monotonic() + LEAD_S, SECONDS
        )
        outcome = caller.call(asked)
        for name, values in outcome.measures.items():
            for value in values:
                self._report(name, value, None)
        wrong = outcome.refused or outcome.untiled
        self._report(f"call, {kind.name}", SECONDS, RuntimeError(wrong) if wrong else None)

    def _report(self, name: str, seconds: float, error: Exception | None) -> None:
        self.environment.events.request.fire(
            request_type=PROTOCOL,
            name=name,
            response_time=1000 * seconds,
            response_length=0,
            exception=error,
            context={},
        )

    tasks: ClassVar = [call]
