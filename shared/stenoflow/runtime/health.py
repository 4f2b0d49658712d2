"""A worker's health and metrics over HTTP: live by progress, ready once warm (not by an open port alone)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Health:
    """Serves ``/healthz``, ``/readyz`` and ``/metrics``.

    Args:
        registry: the process's metrics.
        alive: whether the loop made a round lately.
        ready: whether the worker is warm, connected and not draining.
    """

    def __init__(self, registry: CollectorRegistry, alive: Callable[[], bool], ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._checks = {"/healthz": alive, "/readyz": ready}

    def serve(self, host: str, port: int) -> int:
        """Starts serving in a daemon thread and returns the port."""
        registry, checks = self._registry, self._checks

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                elif self.path in checks:
                    good = checks[self.path]()
                    self._answer(200 if good else 503, b"ok\n" if good else b"no\n", "text/plain")
                else:
                    self._answer(404, b"try /healthz, /readyz or /metrics\n", "text/plain")

            def _answer(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
                """Probes every few seconds are no news."""

        server = ThreadingHTTPServer((host, port), Handler)
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        return int(server.server_address[1])
