"""A collector for tests: takes spans over OTLP as HTTP, and keeps them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """A span as it came."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    begin_ns: int
    end_ns: int
    attributes: dict[str, str | int]


@dataclass
class Collector:
    """Where the spans are."""

    url: str
    spans: list[Received] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def wait(self, until: Callable[[Sequence[Received]], bool], limit_s: float = 30) -> list[Received]:
        """The spans, once ``until`` holds of them."""
        deadline = time.monotonic() + limit_s
        while not until(self.spans):
            assert time.monotonic() < deadline, sorted({(span.service, span.name) for span in self.spans})
            time.sleep(0.05)
        return list(self.spans)


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            there.paths.add(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            there.spans.extend(_spans(request))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for of_process in request.resource_spans:
        about = {each.key: each.value.string_value for each in of_process.resource.attributes}
        for of_scope in of_process.scope_spans:
            for span in of_scope.spans:
                yield Received(
                    about["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    tuple(link.span_id.hex() for link in span.links),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {
                        each.key: each.value.string_value
                        if each.value.HasField("string_value")
                        else each.value.int_value
                        for each in span.attributes
                    },
                )
