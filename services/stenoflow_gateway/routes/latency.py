"""``GET /latency/figures``: the figures behind the page ``/latency/``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from stenoflow_gateway.measures.history import History

FIGURES: dict[str, Any] = {
    "description": "Points, oldest first.",
    "content": {
        "application/json": {
            "example": {
                "every_ms": 5000,
                "window_ms": 30000,
                "kept": 180,
                "points": [
                    {
                        "at_ms": 1700000000000,
                        "calls": 3,
                        "room": 34,
                        "lag_ms": 180,
                        "word": {"p50_ms": 610, "p95_ms": 980, "count": 74},
                        "final": {"p50_ms": 720, "p95_ms": 1150, "count": 9},
                        "chunk": {"p50_ms": 42, "p95_ms": 96, "count": 560},
                        "steps": {"queue": 9.1, "features": 6.0, "acoustic": 14.2, "decoder": 5.7, "back": 4.4},
                    }
                ],
            }
        }
    },
}


def latency_route(history: Callable[[], History]) -> APIRouter:
    """The route, to be included by the application."""
    router = APIRouter()

    @router.get("/latency/figures", summary="Latencies of the last minutes", responses={200: FIGURES})
    async def latency(after_ms: int = 0) -> dict[str, Any]:
        """Calls, free places, lag, and the quantiles of `word`, `final` and `chunk` at this gateway, every 5 s.

        Each point covers the half minute before it; `null` where nothing was measured then. `after_ms` leaves out the
        points that the asker has. `steps` are means: where the time of a caption went.
        """
        return history().body(after_ms)

    return router
