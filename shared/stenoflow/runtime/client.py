"""Streams sound to a gateway: the asyncio shell round :class:`stenoflow.protocol.client.ClientSession`.

The machine decides; this carries out: connections that the caller makes, one timer, and a queue of what is to be sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self

from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import GIVE_UP_S, ClientSession
from stenoflow.protocol.client_events import (
    Audio,
    Begin,
    ConfigureAsked,
    Connect,
    Deliver,
    Disconnect,
    Effect,
    Event,
    FinalizeAsked,
    Finished,
    PauseAsked,
    Received,
    SendAudio,
    SendText,
    SetTimer,
    SocketLost,
    SocketOpen,
    StopAsked,
    Timer,
    UnpauseAsked,
)


class Link(Protocol):
    """An open connection. What it raises when it breaks is an ``OSError``."""

    async def send(self, data: str | bytes) -> None:
        """Sends a text or a binary message."""
        ...

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """What the gateway says, until it closes."""
        ...


Dial = Callable[[str | None], AbstractAsyncContextManager[Link]]
"""Opens a connection to a gateway with an access token, or raises an ``OSError``; closes it in the end."""


class Stream:
    """A session with a gateway; reconnects by itself.

        async with Stream(dial, start, show) as call:
            await call.say(0, samples)
            finals = await call.finish()

    Args:
        dial: opens a connection.
        start: how the session begins.
        on_message: called with every message for the application, each final exactly once.
        give_up_s: how long the server may be out of reach; 0 fails at the first refusal.
        token: an access token, where the gateway asks for one.
    """

    def __init__(
        self,
        dial: Dial,
        start: wire.Start,
        on_message: Callable[[Any], None],
        *,
        give_up_s: float = GIVE_UP_S,
        token: str | None = None,
    ) -> None:
        self._dial = dial
        self._on_message = on_message
        self._session = ClientSession(start, chance=random.random, give_up_s=give_up_s, token=token)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._connections: dict[int, asyncio.Task[None]] = {}
        self._outboxes: dict[int, asyncio.Queue[str | bytes]] = {}
        self._moved = asyncio.Event()
        self._finished: asyncio.Future[None] = self._loop.create_future()

    async def __aenter__(self) -> Self:
        self._happened(Begin())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._finished.done() and not self._finished.cancelled():
            self._finished.exception()  # it was, or is being, told to the caller

    async def say(self, track: int, samples: bytes) -> None:
        """Takes sound that follows what came before; waits while the server's window and the ring are full.

        Args:
            track: track number.
            samples: 16-bit little-endian PCM; any length.

        Raises:
            ClientError: the session failed.
        """
        begin = 0
        while begin < len(samples):
            room = self._session.room(track) * 2
            if room == 0:
                await self._until_moved()
                continue
            self._happened(Audio(track, samples[begin : begin + room]))
            begin += room

    def finalize(self, track: int | None = None) -> None:
        """Ends the open utterance here."""
        self._happened(FinalizeAsked(track))

    def configure(self, settings: wire.Configure) -> None:
        """Other settings for all tracks, from the next sample that is said."""
        self._happened(ConfigureAsked(settings))

    def pause(self, track: int | None = None) -> None:
        """Mutes: what is said from here on is silence."""
        self._happened(PauseAsked(track))

    def resume(self, track: int | None = None) -> None:
        """Ends the pause."""
        self._happened(UnpauseAsked(track))

    async def finish(self) -> Sequence[wire.Final]:
        """No more sound comes; waits for the last final.

        Raises:
            ClientError: the session failed.
        """
        self._happened(StopAsked())
        await asyncio.shield(self._finished)
        return self._session.finals

    @property
    def resumes(self) -> int:
        """How often the session went on over a new connection."""
        return self._session.resumes

    async def _until_moved(self) -> None:
        self._moved.clear()
        waiting = asyncio.ensure_future(self._moved.wait())
        await asyncio.wait((waiting, self._finished), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._finished.done():
            self._finished.result()
            raise ClientError("session_over", "the server ended the session before all sound was sent")

    # ------------------------------------------------------------------ the machine's events and effects

    def _happened(self, event: Event) -> None:
        if self._finished.done():
            self._finished.result()
            return
        for effect in self._session.receive(event, self._loop.time()):
            self._carry_out(effect)
        self._moved.set()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Connect(connection=number, token=token):
                self._outboxes[number] = asyncio.Queue()
                self._connections[number] = self._loop.create_task(self._connection(number, token))
            case Disconnect(connection=number):
                if (task := self._connections.pop(number, None)) is not None:
                    task.cancel()
                self._outboxes.pop(number, None)
            case SendText(message=message):
                self._outboxes[self._session.connection].put_nowait(message.model_dump_json(exclude_none=True))
            case SendAudio(data=data):
                self._outboxes[self._session.connection].put_nowait(data)
            case SetTimer(at=at):
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_at(at, self._tick)
            case Deliver(message=message):
                self._on_message(message)
            case Finished(error=error):
                if error is None:
                    self._finished.set_result(None)
                else:
                    self._finished.set_exception(error)

    def _tick(self) -> None:
        if not self._finished.done():
            self._happened(Timer())

    async def _connection(self, number: int, token: str | None) -> None:
        with contextlib.suppress(ClientError):  # the session failed while this connection spoke; `finish` tells it
            try:
                async with self._dial(token) as link:
                    outbox = self._outboxes[number]
                    self._happened(SocketOpen(number))
                    sending = self._loop.create_task(_send_all(link, outbox))
                    try:
                        async for text in link:
                            self._happened(Received(number, text))
                    finally:
                        sending.cancel()
                        await asyncio.gather(sending, return_exceptions=True)
            except OSError:  # TimeoutError is one
                pass  # told below, as every end of a connection is
            if not self._finished.done():
                self._happened(SocketLost(number))


async def _send_all(link: Link, outbox: asyncio.Queue[str | bytes]) -> None:
    with contextlib.suppress(OSError):  # the reading side tells it
        while True:
            await link.send(await outbox.get())
