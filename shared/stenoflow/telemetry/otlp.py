"""Spans by OpenTelemetry, sent over OTLP as HTTP. Nothing but :mod:`stenoflow.telemetry.tracing` imports this."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, set_span_in_context

PATH = "/v1/traces"
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class _OpenSpan:
    span: Span

    @property
    def context(self) -> str:
        return _written(self.span.get_span_context())

    def end(self, at_ms: int) -> None:
        self.span.end(at_ms * NS_PER_MS)


class OtlpTracing:
    """Implements :class:`stenoflow.telemetry.tracing.Tracing`.

    What is sampled, and how often spans are sent, is OpenTelemetry's own to say (``OTEL_TRACES_SAMPLER``,
    ``OTEL_BSP_SCHEDULE_DELAY`` and so on).

    Args:
        service: the program's name.
        address: of the collector, ``http://host:4318``; its path is OTLP's unless one is given.
    """

    def __init__(self, service: str, address: str) -> None:
        path = "" if address.rstrip("/").endswith(PATH) else PATH
        about = {"service.name": service, "service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address.rstrip("/") + path, timeout=2)))
        self._tracer = self._provider.get_tracer("stenoflow")

    def root(self, name: str, begin_ms: int, attributes: Mapping[str, str | int]) -> _OpenSpan:
        """See the port."""
        return _OpenSpan(self._begin(name, None, begin_ms, attributes))

    def child(
        self, name: str, parent: str, begin_ms: int, end_ms: int, attributes: Mapping[str, str | int] | None = None
    ) -> str:
        """See the port."""
        above = _read(parent)
        if above is None:
            return ""
        span = self._begin(name, above, begin_ms, attributes)
        span.end(max(begin_ms, end_ms) * NS_PER_MS)
        return _written(span.get_span_context())

    def batch(self, stage: str, producers: Sequence[str], begin_ms: int, end_ms: int) -> Sequence[str]:
        """See the port."""
        above = [_read(producer) for producer in producers]
        links = [Link(context) for context in above if context is not None]
        if not links:
            return [""] * len(producers)
        size = {"stenoflow.batch.tracks": len(producers)}
        whole = self._begin(f"{stage} batch", None, begin_ms, size, links)
        link = [Link(whole.get_span_context())]
        carried = []
        for context in above:
            if context is None:
                carried.append("")
                continue
            span = self._begin(stage, context, begin_ms, None, link)
            span.end(end_ms * NS_PER_MS)
            carried.append(_written(span.get_span_context()))
        whole.end(end_ms * NS_PER_MS)
        return carried

    def close(self) -> None:
        """See the port."""
        self._provider.force_flush(2000)
        self._provider.shutdown()

    def _begin(
        self,
        name: str,
        parent: SpanContext | None,
        begin_ms: int,
        attributes: Mapping[str, str | int] | None,
        links: Sequence[Link] = (),
    ) -> Span:
        context = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
        return self._tracer.start_span(
            name, context, SpanKind.INTERNAL, attributes, links=links, start_time=begin_ms * NS_PER_MS
        )


def _written(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _read(traceparent: str) -> SpanContext | None:
    """None where there is none; our own processes alone write these."""
    if not traceparent:
        return None
    _, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
