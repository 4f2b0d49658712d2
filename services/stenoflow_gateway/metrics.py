"""What a gateway measures, by MEASURING's names. No session and no tenant in any label."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0)


class GatewayMetrics:
    """The gateway's metrics.

    Args:
        registry: one a process.
        lag_s: the present ``lag`` of the worst session.
        sockets: how many are open.
        watchers: how many sockets watch.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        lag_s: Callable[[], float],
        sockets: Callable[[], int],
        watchers: Callable[[], int] = lambda: 0,
    ) -> None:
        self.registry = registry
        self._chunk = Histogram(
            "stenoflow_chunk_seconds",
            "From a chunk's last byte at the gateway to the caption that covers it",
            buckets=BUCKETS,
            registry=registry,
        )
        self._final = Histogram(
            "stenoflow_final_seconds",
            "From the arrival of the newest sound in a final to the final",
            buckets=BUCKETS,
            registry=registry,
        )
        self.loop_lag = Histogram(
            "stenoflow_gateway_loop_lag_seconds",
            "How late the event loop woke",
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
            registry=registry,
        )
        Gauge(
            "stenoflow_lag_seconds", "Age of the oldest received sample that is not decoded", registry=registry
        ).set_function(lag_s)
        Gauge("stenoflow_gateway_sockets", "Open sockets", registry=registry).set_function(sockets)
        Gauge("stenoflow_gateway_watchers", "Open sockets that watch", registry=registry).set_function(watchers)
        self.memory = Gauge("stenoflow_redis_memory_fraction", "Used memory of maxmemory", registry=registry)
        self._room = Gauge(
            "stenoflow_room_tracks",
            "Tracks that could begin now, by stage; of the second pass, by model",
            ["stage", "model"],
            registry=registry,
        )
        self._room_calls = Gauge(
            "stenoflow_room_calls", "Calls of two tracks that would be admitted now", registry=registry
        )
        self.opened = Counter("stenoflow_sessions_opened", "Sessions that began here", registry=registry)
        self.resumed = Counter("stenoflow_sessions_resumed", "Sessions that came back", registry=registry)
        self.reopened = Counter("stenoflow_epochs_opened", "New epochs of sessions that went on", registry=registry)
        self.abandoned = Counter("stenoflow_sessions_abandoned", "Sessions that were ended for them", registry=registry)
        self.audio_bytes = Counter("stenoflow_audio_bytes", "Sound appended to logs", registry=registry)
        self._appends = Counter(
            "stenoflow_gateway_appends", "Appends to audio logs by outcome", ["outcome"], registry=registry
        )
        self._errors = Counter(
            "stenoflow_gateway_errors", "Errors that went to clients, by code", ["code"], registry=registry
        )
        self._closed = Counter("stenoflow_gateway_closed", "Sockets closed by the gateway", ["code"], registry=registry)

    def measure(self, name: str, value: float) -> None:
        """Notes a figure of a session machine."""
        {"chunk": self._chunk, "final": self._final}[name].observe(value)

    def room(self, calls: int, stages: Mapping[str, int], second_passes: Mapping[str, int]) -> None:
        """Notes the free places; a model that is not served any more vanishes."""
        self._room_calls.set(calls)
        self._room.clear()
        for stage, tracks in stages.items():
            self._room.labels(stage, "").set(tracks)
        for model, tracks in second_passes.items():
            self._room.labels("second_pass", model).set(tracks)

    def append(self, outcome: str) -> None:
        """Notes how an append went."""
        self._appends.labels(outcome).inc()

    def error(self, code: str) -> None:
        """Notes an error that a client got."""
        self._errors.labels(code).inc()

    def closed(self, code: int) -> None:
        """Notes that a socket was closed."""
        self._closed.labels(str(code)).inc()
