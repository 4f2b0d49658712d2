"""``stenoflow sessions``: the calls of a gateway, live in a terminal; or the captions of one of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from stenoflow.base.errors import ClientError
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol import messages as wire
from stenoflow_cli.gateway import GatewayClient
from stenoflow_cli.view import CaptionView

POLL_S = 1.0
"""How often the list is asked for and drawn."""

SHOWN = 50
"""So many sessions, the newest, are listed and watched."""

ONCE_S = 1.5
"""How long a single look listens: quality comes once a second."""

AGAIN_S = 1.0
"""Pause before a session is watched again that is not over."""


@dataclass(slots=True)
class Call:
    """What is known of one session.

    Args:
        id: of the session.
        told: its line in the gateway's list.
        said_to: by track, where its last words end, 16 kHz samples; from its watcher's socket.
        hints: by track, what is wrong with its sound, in words.
    """

    id: str
    told: dict[str, Any]
    said_to: dict[int, int] = field(default_factory=dict)
    hints: dict[int, str] = field(default_factory=dict)

    def hear(self, message: Any) -> None:
        """Takes a message of the watcher's socket."""
        match message:
            case wire.Final(words=words) if words:
                self.said_to[message.track] = max(words[-1].end, self.said_to.get(message.track, 0))
            case wire.Partial(text=text) if text:
                self.said_to[message.track] = max(message.end, self.said_to.get(message.track, 0))
            case wire.Quality(track=track, hint=None):
                self.hints.pop(track, None)
            case wire.Quality(track=track, hint=hint) if hint is not None:
                self.hints[track] = hint.message

    def as_json(self, now_ms: int) -> dict[str, Any]:
        """One line of the table; times in seconds, null where they are not known (yet)."""
        received = self.told.get("received_s", [])
        lags = [came - done for came, done in zip(received, self.told.get("decoded_s", []), strict=True)]
        silent = [received[track] - end / SAMPLE_RATE for track, end in self.said_to.items() if track < len(received)]
        names = [track["name"] for track in self.told["tracks"]]
        return {
            "session": self.id,
            "tracks": names,
            "state": self.told["state"],
            "age_s": round((now_ms - self.told["began_ms"]) / 1000, 1),
            "last_words_s": round(max(0.0, min(silent)), 1) if silent else None,
            "lag_s": round(max(0.0, *lags), 1) if lags else None,
            "hints": {names[track]: hint for track, hint in sorted(self.hints.items())},
        }


class Board:
    """The sessions of a gateway, kept up to date; one watcher's socket for each that is open.

    Args:
        gateway: to be asked.
        ended: whether ended ones that are kept are listed too.
    """

    def __init__(self, gateway: GatewayClient, *, ended: bool) -> None:
        self._gateway = gateway
        self._query: dict[str, str | int] = {"limit": SHOWN, "progress": "true"}
        if not ended:
            self._query["state"] = "open"
        self._calls: dict[str, Call] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Asks for the list, and watches what is new in it.

        Raises:
            ClientError: the gateway is away, or refuses.
        """
        listed = (await self._gateway.get("/v1/sessions", **self._query))["sessions"]
        before, self._calls = self._calls, {}
        for told in listed:
            call = before.get(told["session"]) or Call(told["session"], told)
            call.told = told
            self._calls[call.id] = call
            if told["state"] == "open" and call.id not in self._watching:
                self._watching[call.id] = asyncio.create_task(self._watch(call))
        for gone in self._watching.keys() - self._calls.keys():
            self._watching.pop(gone).cancel()

    async def _watch(self, call: Call) -> None:
        while True:
            async for message in self._gateway.watch(call.id):
                call.hear(message)
                if isinstance(message, wire.Ended | wire.Error):
                    return
            await asyncio.sleep(AGAIN_S)

    def rows(self, now_ms: int) -> list[dict[str, Any]]:
        """The table, the newest session first."""
        return [call.as_json(now_ms) for call in self._calls.values()]

    async def close(self) -> None:
        """Watches nothing any more."""
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows as they are drawn."""
    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("session", "tracks", "state", "age", "last words", "lag", "sound"):
        drawn.add_column(head, justify="right" if head in ("age", "last words", "lag") else "left")
    for row in rows:
        hints = "; ".join(f"{name}: {hint}" for name, hint in row["hints"].items())
        drawn.add_row(
            row["session"],
            escape(", ".join(row["tracks"])),
            row["state"],
            _ago(row["age_s"]),
            "—" if row["last_words_s"] is None else _ago(row["last_words_s"]),
            "—" if row["lag_s"] is None else f"{row['lag_s']:.1f} s",
            f"[yellow]{escape(hints)}[/]" if hints else "",
        )
    if not rows:
        drawn.add_row("no session is open")
    return drawn


def _ago(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


async def show_sessions(gateway: GatewayClient, console: Console, *, once: bool, as_json: bool, ended: bool) -> None:
    """Draws the table until Ctrl-C, or once; as JSON one list a line.

    Raises:
        ClientError: the gateway is away, or refuses.
    """
    board = Board(gateway, ended=ended)
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not once and not as_json else None

    def draw() -> None:
        rows = board.rows(round(time.time() * 1000))
        if as_json:
            console.print(json.dumps(rows), markup=False, highlight=False, soft_wrap=True)
        elif live is not None:
            live.update(table(rows), refresh=True)
        else:
            console.print(table(rows))

    with live or contextlib.nullcontext():
        try:
            await board.look()
            while not once:
                draw()
                await asyncio.sleep(POLL_S)
                await board.look()
            if board.rows(0):
                await asyncio.sleep(ONCE_S)
            draw()
        finally:
            await board.close()


async def follow(gateway: GatewayClient, session: str, console: Console, *, as_json: bool) -> None:
    """Shows one session's captions, from its first word until it ends; as JSON one message a line.

    Raises:
        ClientError: there is no such session, or the gateway refuses or is away.
    """
    told = await gateway.get(f"/v1/sessions/{session}")
    names = [track["name"] for track in told["tracks"]]
    with contextlib.nullcontext() if as_json else CaptionView(console, names, lambda: None, lambda: 0.0) as view:
        show = view.show if view is not None else _as_line(console)
        shown: dict[int, int] = {}
        while True:
            async for message in gateway.watch(session):
                match message:
                    case wire.Ended():
                        show(message)
                        return
                    case wire.Error():
                        raise ClientError(message.code, message.message, retryable=message.retryable)
                    case wire.Final() if message.end <= shown.get(message.track, 0):
                        continue  # it comes again on a new connection
                    case wire.Final():
                        shown[message.track] = message.end
                show(message)
            await asyncio.sleep(AGAIN_S)


def _as_line(console: Console) -> Callable[[Any], None]:
    def show(message: wire.Message) -> None:
        console.print(message.model_dump_json(), markup=False, highlight=False, soft_wrap=True)

    return show
