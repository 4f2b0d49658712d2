"""Spans and their contexts; and that tracing costs nothing while it is off."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import Entry, EntryId, Kind, decode_entry, drop_before, encode_header
from stenoflow.telemetry.tracing import VARIABLE, tracing_of
from stenoflow_gateway.measures.tracing import CallTracing
from stenoflow_gateway.session import events as on
from tests.otlp import Received, collector

KEY = TrackKey(SessionId("s00-0000000000000000"), 0, Epoch("e1"))
CONTEXT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Clock:
    now_ms = 5000

    def monotonic(self) -> float:
        return self.now_ms / 1000

    def wall_ms(self) -> int:
        return self.now_ms


def sound(begin: int, trace: str = "") -> Entry:
    return Entry(KEY, Kind.AUDIO, begin, begin + 160, hop=1, stamps={"received": 4000 + begin}, trace=trace)


def final(trace: str) -> on.FinalsRead:
    return on.FinalsRead(KEY, [(EntryId(160, 1), Entry(KEY, Kind.FINAL, 0, 160, data=b"{}", trace=trace))])


def test_off_is_off_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert tracing_of("test") is None
    code = (
        "import sys, stenoflow.runtime.process\n"
        "from stenoflow.telemetry.tracing import tracing_of\n"
        "assert tracing_of('test') is None\n"
        "import stenoflow_gateway.gateway, stenoflow_gateway.app\n"
        # Not all of OpenTelemetry: FastAPI and redis-py look for it themselves, and keep theirs off.
        "assert 'stenoflow.telemetry.otlp' not in sys.modules\n"
        "assert not any(name.startswith('opentelemetry.exporter') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_a_header_carries_the_context_and_a_process_of_the_version_before_reads_it() -> None:
    entry = Entry(KEY, Kind.AUDIO, 0, 0, trace=CONTEXT)
    header = encode_header(entry)
    assert decode_entry(header, b"") == entry
    assert drop_before(Entry(KEY, Kind.LIVE, 0, 320, trace=CONTEXT), 160).trace == CONTEXT
    older = msgspec.msgpack.encode(msgspec.msgpack.decode(header)[:-1])
    assert decode_entry(older, b"").trace == ""
    assert len(encode_header(Entry(KEY, Kind.AUDIO, 0, 0))) == len(older) + 1, "off costs a byte an entry"


def test_an_utterance_is_a_trace_and_ends_with_its_final(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as there:
        monkeypatch.setenv(VARIABLE, there.url)
        tracing = tracing_of("test-gateway")
        assert tracing is not None
        calls = CallTracing(tracing, Clock())
        first = [calls.received(KEY, sound(begin)).trace for begin in (0, 160)]
        calls.news(final(first[-1]))
        second = calls.received(KEY, sound(320)).trace
        calls.news(final(first[-1]))  # read again after a reconnect: ends nobody else's
        third = calls.received(KEY, sound(480)).trace
        calls.leave([KEY])
        tracing.close()
    assert there.paths == {"/v1/traces"}
    spans = {span.id: span for span in there.spans}
    assert first[0][:35] == first[1][:35] and second[:35] == third[:35] != first[0][:35]
    roots = [span for span in there.spans if span.name == "utterance"]
    assert len(roots) == 2 and all(root.parent == "" for root in roots)
    assert roots[0].attributes == {"stenoflow.session": KEY.session, "stenoflow.track": 0}
    receives = [span for span in there.spans if span.name == "receive"]
    assert {spans[span.parent].name for span in receives} == {"utterance"}
    delivered = next(span for span in there.spans if span.name == "deliver final")
    assert spans[delivered.parent].name == "receive" and delivered.service == "test-gateway"


def test_a_step_over_many_tracks_is_linked_to_its_producers_and_they_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as there:
        monkeypatch.setenv(VARIABLE, there.url + "/v1/traces")
        tracing = tracing_of("test-worker")
        assert tracing is not None
        parents = [tracing.root("a", 0, {}), tracing.root("b", 0, {})]
        contexts = [parents[0].context, "", parents[1].context]
        carried = tracing.batch("acoustic", contexts, 1000, 1250)
        assert carried[1] == "" and [each[:35] for each in carried[::2]] == [each.context[:35] for each in parents]
        assert tracing.batch("acoustic", ["", ""], 1000, 1250) == ["", ""]
        assert tracing.child("deliver", "", 0, 1) == ""
        tracing.close()
    assert there.paths == {"/v1/traces"}
    (batch,) = [span for span in there.spans if span.name == "acoustic batch"]
    children = [span for span in there.spans if span.name == "acoustic"]
    assert {span.links for span in children} == {(batch.id,)}
    assert _parents(children) == set(batch.links) == {each.context.split("-")[2] for each in parents}
    assert (batch.end_ns - batch.begin_ns, batch.attributes) == (250_000_000, {"stenoflow.batch.tracks": 3})


def _parents(spans: list[Received]) -> set[str]:
    return {span.parent for span in spans}
