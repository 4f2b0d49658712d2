"""What a gateway measures, by MEASURING's names. No session and no tenant in any label."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stenoflow.protocol.messages import Latency
from stenoflow.runtime.metrics import BUCKETS as STEP_BUCKETS
from stenoflow.runtime.metrics import LOOP_LAG_BUCKETS

BUCKETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0)
"""Of what begins with a chunk's arrival; 1 s is the promise."""

SPEECH_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Of what begins with speech: chunk and look-ahead are in it, so little comes below 300 ms."""

CALL_BUCKETS = (1, 10, 30, 60, 180, 300, 600, 1200, 1800, 3600, 7200)
HTTP_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0)

CLOCK = "; on the sound's own clock: a second was spoken when its chunk could have arrived at the earliest. Live calls"

STEPS = ("queue", "features", "acoustic", "decoder", "back")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_TYPE = re.compile(r'\{"type": ?"(\w+)"')


class GatewayMetrics:
    """The gateway's metrics.

    Args:
        registry: one a process.
        lag_s: the present ``lag`` of the worst session.
        sockets: how many are open.
        watchers: how many sockets watch.
        sessions: how many of them have a call.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        lag_s: Callable[[], float],
        sockets: Callable[[], int],
        watchers: Callable[[], int] = lambda: 0,
        sessions: Callable[[], int] = lambda: 0,
    ) -> None:
        self.registry = registry

        def histogram(name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self.latencies = {
            "chunk": histogram(
                "stenoflow_chunk_seconds",
                "From a chunk's last byte at the gateway to the caption (or progress) that covers it, ready to leave",
                BUCKETS,
            ),
            "word": histogram(
                "stenoflow_word_seconds",
                "From the end of a word to the first caption that shows it, unrevised afterwards" + CLOCK,
                SPEECH_BUCKETS,
            ),
            "first_partial": histogram(
                "stenoflow_first_partial_seconds",
                "From the start of an utterance's first word to its first partial, known once it is final" + CLOCK,
                SPEECH_BUCKETS,
            ),
            "final": histogram(
                "stenoflow_final_seconds",
                "From the end of an utterance's last word to its final" + CLOCK,
                SPEECH_BUCKETS,
            ),
            "endpoint": histogram(
                "stenoflow_endpoint_seconds",
                "From the end of an utterance's last word to the decoder's decision to end it" + CLOCK,
                SPEECH_BUCKETS,
            ),
        }
        changed = counter(
            "stenoflow_words_changed",
            "Words of captions that were changed or withdrawn: by the first pass (over words_shown: flicker), or "
            "corrected by the second",
            ("by",),
        )
        self._counts = {
            "shown": counter("stenoflow_words_shown", "Words shown in captions, again where they were changed"),
            "changed": changed.labels("first_pass"),
            "corrected": changed.labels("second_pass"),
        }
        steps = histogram(
            "stenoflow_caption_step_seconds",
            "Where a caption's time went between its newest sound's arrival and its leaving; one caption a session and "
            "half second",
            STEP_BUCKETS,
            ("step",),
        )
        self.steps = {step: steps.labels(step) for step in STEPS}
        self.loop_lag = histogram(
            "stenoflow_gateway_loop_lag_seconds", "How late the event loop woke", LOOP_LAG_BUCKETS
        )
        Gauge(
            "stenoflow_lag_seconds", "Age of the oldest received sample that is not decoded", registry=registry
        ).set_function(lag_s)
        Gauge("stenoflow_gateway_sockets", "Open sockets", registry=registry).set_function(sockets)
        Gauge("stenoflow_gateway_watchers", "Open sockets that watch", registry=registry).set_function(watchers)
        Gauge("stenoflow_gateway_sessions", "Calls with a socket here", registry=registry).set_function(sessions)
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
        self.opened = counter("stenoflow_sessions_opened", "Sessions that began here")
        self.resumed = counter("stenoflow_sessions_resumed", "Sessions that came back")
        self.reopened = counter("stenoflow_epochs_opened", "New epochs of sessions that went on")
        self.abandoned = counter("stenoflow_sessions_abandoned", "Sessions that were ended for them")
        self.rewinds = counter("stenoflow_rewinds", "Times that a client was asked to send sound again")
        self.audio_bytes = counter("stenoflow_audio_bytes", "Sound appended to logs")
        self._appends = counter("stenoflow_gateway_appends", "Appends to audio logs by outcome", ("outcome",))
        self._errors = counter("stenoflow_gateway_errors", "Errors that went to clients, by code", ("code",))
        self.accepted = counter("stenoflow_gateway_sockets_opened", "Sockets that were accepted")
        self._closed = counter("stenoflow_gateway_closed", "Sockets closed by the gateway", ("code",))
        self.socket_time = histogram("stenoflow_gateway_socket_seconds", "How long a socket was open", CALL_BUCKETS)
        self._sent = counter("stenoflow_events_sent", "Messages that sockets took, by type", ("type",))
        self._requests = counter(
            "stenoflow_http_requests", "HTTP requests by route, method and status", ("route", "method", "status")
        )
        self._request_time = histogram(
            "stenoflow_http_request_seconds",
            "HTTP requests, from their arrival to the answer's end",
            HTTP_BUCKETS,
            ("route",),
        )

    def measure(self, name: str, value: float) -> None:
        """Notes a figure of a session machine."""
        if name in self._counts:
            self._counts[name].inc(value)
        else:
            self.latencies[name].observe(value)

    def steps_of(self, message: Latency) -> None:
        """Notes where one caption's time went."""
        for step, histogram in self.steps.items():
            histogram.observe(getattr(message.steps, step) / 1000)

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

    def sent(self, text: str) -> None:
        """Notes a message that a socket took. Captions pass as they came from the log: their type stands in front."""
        found = _TYPE.match(text)
        self._sent.labels(found[1] if found else "other").inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Notes an HTTP request; a method that nobody has heard of makes no series of its own."""
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self._request_time.labels(route).observe(seconds)
