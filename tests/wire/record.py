"""Writes the conversations in ``conversations/`` anew: ``python -m tests.wire.record``. Read the difference before
you commit it: it is a change of the protocol.
"""

from __future__ import annotations

import json
from typing import Any

from tests.wire.replay import HERE, RATE, ClientSide, GatewaySide, Step

from stenoflow.protocol import messages as wire

START = wire.Start(tracks=(wire.TrackRequest(name="caller", sample_rate=RATE),))


class Recorder:
    """Both machines, told the same script; what they say to each other is carried over at once and noted."""

    def __init__(self, start: wire.Start = START) -> None:
        self.start = start
        self.client = ClientSide(start)
        self.gateway = GatewaySide()
        self.steps: list[Step] = []
        self.connected = False

    def say(self, **step: Any) -> None:
        """One step, and all that the machines say because of it."""
        if step["by"] == "socket":
            self.connected = step["do"] == "open"
        self.steps.append(step)
        for side in (self.gateway, self.client):
            side.tell(step)
            self._carry()

    def caption(self, track: int, kind: str, begin: int, end: int, text: str) -> None:
        """A caption of client positions ``[begin, end)`` (8 kHz)."""
        words = [{"word": word, "begin": 2 * begin, "end": 2 * end, "confidence": 0.9} for word in text.split()]
        caption: dict[str, Any] = {"type": kind, "track": track, "utterance": 0, "begin": 2 * begin, "end": 2 * end}
        if kind == "final":
            caption |= {"text": text, "words": words, "alternatives": [], "confidence": 0.9}
        else:
            caption |= {"revision": 2 * end, "text": text, "stable": 0}
        self.say(by="stages", track=track, caption=caption, end=end)

    def _carry(self) -> None:
        while self.client.sent or self.gateway.sent:
            if self.client.sent:
                step, other = self.client.sent.popleft(), self.gateway
            else:
                step, other = self.gateway.sent.popleft(), self.client
            if not self.connected:
                continue  # said into a connection that is gone
            self.steps.append(step)
            other.tell(step)


def a_call() -> Recorder:
    tracks = tuple(wire.TrackRequest(name=name, sample_rate=RATE) for name in ("agent", "customer"))
    talk = Recorder(wire.Start(tracks=tracks))
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="audio", track=1, samples=80)
    talk.caption(0, "partial", 0, 80, "hello")
    talk.say(by="time", ms=500)
    talk.say(by="app", do="finalize", track=0)
    talk.caption(0, "final", 0, 80, "hello there")
    talk.say(by="app", do="stop")
    for track in (0, 1):
        talk.say(by="stages", track=track, over=True)
    return talk


def a_cut_socket() -> Recorder:
    talk = Recorder()
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=160)
    talk.caption(0, "final", 0, 80, "hello")
    talk.say(by="socket", do="lost")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="stop")
    talk.say(by="time", ms=250)
    talk.say(by="socket", do="open")
    talk.caption(0, "final", 80, 240, "there")
    talk.say(by="stages", track=0, over=True)
    return talk


def an_empty_redis() -> Recorder:
    talk = Recorder()
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=160)
    talk.caption(0, "final", 0, 80, "hello")
    talk.say(by="redis", do="empty")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="stop")
    talk.caption(0, "final", 80, 240, "there")
    talk.say(by="stages", track=0, over=True)
    return talk


def a_drain() -> Recorder:
    talk = Recorder()
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="gateway", do="drain")
    talk.say(by="socket", do="lost")
    talk.say(by="time", ms=1)
    talk.say(by="socket", do="open")
    talk.say(by="app", do="stop")
    talk.say(by="stages", track=0, over=True)
    return talk


def no_place_at_first() -> Recorder:
    talk = Recorder()
    refusal = {"code": "at_capacity", "message": "no place for another call now", "retryable": True}
    talk.say(by="admission", error=refusal | {"retry_after_ms": 2000})
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="socket", do="lost")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="time", ms=2000)
    talk.say(by="socket", do="open")
    talk.say(by="app", do="stop")
    talk.say(by="stages", track=0, over=True)
    return talk


def a_mute() -> Recorder:
    """Muted, and in the middle of it the socket breaks: the next one knows."""
    talk = Recorder()
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="pause", track=0)
    talk.caption(0, "final", 0, 80, "hello")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="socket", do="lost")
    talk.say(by="time", ms=250)
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="resume", track=0)
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.caption(0, "final", 80, 320, "there")
    talk.say(by="app", do="stop")
    talk.say(by="stages", track=0, over=True)
    return talk


def other_settings() -> Recorder:
    talk = Recorder()
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="configure", settings={"boost": [{"phrase": "Ada", "weight": 2.0}], "partials": False})
    talk.say(by="app", do="audio", track=0, samples=80)
    told = {"phrase": "ada", "begin": 0, "end": 160, "score": 0.9}
    talk.say(by="stages", track=0, spotted=told, at=80)
    talk.say(by="socket", do="lost")
    talk.say(by="time", ms=250)
    talk.say(by="socket", do="open")  # it starts with the settings in force, and the mark is in the log already
    talk.say(by="stages", track=0, spotted=told, at=80)
    talk.caption(0, "final", 0, 160, "ada")
    talk.say(by="app", do="stop")
    talk.say(by="stages", track=0, over=True)
    return talk


def other_settings_while_muted() -> Recorder:
    """Muted and told other settings, over a break and an empty Redis: neither forgets the other."""
    talk = Recorder()
    talk.say(by="app", do="begin")
    talk.say(by="socket", do="open")
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="app", do="pause", track=0)
    talk.say(by="app", do="configure", settings={"lm_weight": 0.5})
    talk.say(by="app", do="audio", track=0, samples=160)
    talk.say(by="time", ms=500)
    talk.say(by="app", do="configure", settings={"partials": False})
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.caption(0, "final", 0, 160, "hello")
    talk.say(by="socket", do="lost")
    talk.say(by="time", ms=250)
    talk.say(by="socket", do="open")  # the start has the change that is final, and the log the other
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.say(by="redis", do="empty")  # from what is final on, the mute and the other change come again
    talk.say(by="app", do="resume", track=0)
    talk.say(by="app", do="audio", track=0, samples=80)
    talk.caption(0, "final", 160, 480, "there")
    talk.say(by="app", do="stop")
    talk.say(by="stages", track=0, over=True)
    return talk


CONVERSATIONS = (
    a_call,
    a_cut_socket,
    an_empty_redis,
    a_drain,
    no_place_at_first,
    a_mute,
    other_settings,
    other_settings_while_muted,
)


def main() -> None:
    """Writes all."""
    for conversation in CONVERSATIONS:
        talk = conversation()
        start = talk.start.model_dump(mode="json", exclude_none=True)
        lines = ",\n".join("  " + json.dumps(step) for step in talk.steps)
        path = HERE / "conversations" / f"{conversation.__name__}.json"
        path.write_text(f'{{"start": {json.dumps(start)},\n "steps": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
