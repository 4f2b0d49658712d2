"""Conversations on the wire: how they are written down, and how each machine replays its side of them.

A conversation is a list of steps in the order in which they happened:

    {"by": "app", "do": "begin" | "audio" | "finalize" | "pause" | "resume" | "stop", "track": 0, "samples": 80}
    {"by": "app", "do": "configure", "settings": {...}}
    {"by": "client", "text": {...}} or {"by": "client", "frame": "hex"}                       client → server
    {"by": "server", "text": {...}}                                                           server → client
    {"by": "socket", "do": "open" | "lost"}                                                   the connection
    {"by": "time", "ms": 500}                                                                 time passes
    {"by": "stages", "track": 0, "caption": {...}, "end": 80}                                 what the workers made
    {"by": "stages", "track": 0, "spotted": {...}, "at": 80}
    {"by": "stages", "track": 0, "over": true}
    {"by": "redis", "do": "empty"}                                                            Redis came back empty
    {"by": "gateway", "do": "drain"}
    {"by": "admission", "error": {...}}                                                       no place

The sample at position p is ``(31 * p) mod 65536``. ``app`` is the client's user. A client is told what ``app``,
``socket``, ``time`` and ``server`` say and must send what ``client`` says; a gateway is told all but ``app`` and must
send what ``server`` says.
"""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

from tests.unit.gateway.world import Server, sound

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import SessionId
from stenoflow.base.positions import ClientPosition, to_position
from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.logs import LogKey, LogName
from stenoflow.protocol import client_events as ce
from stenoflow.protocol import messages as wire
from stenoflow.protocol.client import ClientSession
from stenoflow.runtime.spotted import Occurrence, spotted_mark
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.machine import Session
from stenoflow_gateway.session.resume_tokens import make_token

HERE = Path(__file__).parent
RATE = 8000
BEGIN_MS = 1_700_000_000_000
SESSION = SessionId("s00-0123456789abcdef")
TOKEN = make_token(SESSION, "an-example-of-a-token")

Step = dict[str, Any]


class ClientSide:
    """A client's machine that is told a conversation; what it sends piles up in ``sent``."""

    def __init__(self, start: wire.Start) -> None:
        self.machine = ClientSession(start)
        self.now = 0.0
        self.timer: float | None = None
        self.pushed = [0] * len(start.tracks)
        self.sent: deque[Step] = deque()
        self.connection = 0
        self.wants_socket = False

    def tell(self, step: Step) -> None:
        match step:
            case {"by": "app", "do": "begin"}:
                self._receive(ce.Begin())
            case {"by": "app", "do": "audio", "track": track, "samples": samples}:
                begin = self.pushed[track]
                self.pushed[track] += samples
                self._receive(ce.Audio(track, sound(begin, begin + samples)))
            case {"by": "app", "do": "finalize"}:
                self._receive(ce.FinalizeAsked(step.get("track")))
            case {"by": "app", "do": "configure", "settings": settings}:
                self._receive(ce.ConfigureAsked(wire.Configure.model_validate(settings)))
            case {"by": "app", "do": "pause"}:
                self._receive(ce.PauseAsked(step.get("track")))
            case {"by": "app", "do": "resume"}:
                self._receive(ce.UnpauseAsked(step.get("track")))
            case {"by": "app", "do": "stop"}:
                self._receive(ce.StopAsked(step.get("track")))
            case {"by": "socket", "do": "open"}:
                self._receive(ce.SocketOpen(self.connection))
            case {"by": "socket", "do": "lost"}:
                self._receive(ce.SocketLost(self.connection))
            case {"by": "time", "ms": ms}:
                self.now += ms / 1000
                if self.timer is not None and self.now >= self.timer:
                    self.timer = None
                    self._receive(ce.Timer())
            case {"by": "server", "text": text}:
                self._receive(ce.Received(self.connection, json.dumps(text)))
            case _:
                pass

    def _receive(self, event: ce.Event) -> None:
        for effect in self.machine.receive(event, self.now):
            match effect:
                case ce.SendText(message):
                    self.sent.append({"by": "client", "text": message.model_dump(mode="json", exclude_none=True)})
                case ce.SendAudio(data):
                    self.sent.append({"by": "client", "frame": data.hex()})
                case ce.Connect(connection):
                    self.connection, self.wants_socket = connection, True
                case ce.SetTimer(at):
                    self.timer = at
                case _:
                    pass


class GatewaySide:
    """A gateway that is told a conversation; what it sends piles up in ``sent``."""

    def __init__(self) -> None:
        self.server = Server()
        self.now = 0.0
        self.sent: deque[Step] = deque()
        self.error: ClientError | None = None
        self.machine: Session | None = None
        self.timer: float | None = None

    def tell(self, step: Step) -> None:
        match step:
            case {"by": "client", "text": text}:
                self._receive(on.Text(json.dumps(text)))
            case {"by": "client", "frame": frame}:
                self._receive(on.Binary(bytes.fromhex(frame)))
            case {"by": "socket", "do": "open"}:
                self.timer = None
                self.machine = Session(SESSION, TOKEN, {"live": 12, "file": 60}, self._moment)
            case {"by": "socket", "do": "lost"}:
                self._receive(on.SocketGone())
            case {"by": "time", "ms": ms}:
                self.now += ms / 1000
                if self.timer is not None and self.now >= self.timer:
                    self.timer = None
                    self._receive(on.Timer())
            case {"by": "stages", "track": track, "over": True}:
                key = LogKey(self.server.records[SESSION].track_keys()[track], LogName.FINALS)
                end = self.server.logs[key][-1][1].end
                mark = Mark(MarkKind.END, end, "client", 0)
                self._final(key, END_ID, Entry(key.track, Kind.FINAL, end, end, marks=(mark,)))
            case {"by": "stages", "track": track, "spotted": spotted, "at": at}:
                key = self.server.records[SESSION].track_keys()[track]
                position = to_position(ClientPosition(at), RATE)
                mark = spotted_mark(position, "decoder", [Occurrence(**spotted)])
                self._receive(on.LiveRead(key, [Entry(key, Kind.LIVE, position, position, marks=(mark,))]))
            case {"by": "stages", "track": track, "caption": caption, "end": end}:
                key = LogKey(self.server.records[SESSION].track_keys()[track], LogName.FINALS)
                data = json.dumps(caption).encode()
                position = to_position(ClientPosition(end), RATE)
                if caption["type"] == "final":
                    begin = self.server.logs[key][-1][1].end
                    self._final(key, EntryId(position, 1), Entry(key.track, Kind.FINAL, begin, position, data=data))
                else:
                    self._receive(on.LiveRead(key.track, [Entry(key.track, Kind.LIVE, position, position, data=data)]))
            case {"by": "redis", "do": "empty"}:
                self.server.records.clear()
                self.server.logs.clear()
                self._receive(on.ServerChanged())
            case {"by": "gateway", "do": "drain"}:
                self._receive(on.Drain())
            case {"by": "admission", "error": error}:
                self.error = ClientError(**error)
            case _:
                pass

    @property
    def _moment(self) -> on.Moment:
        return on.Moment(self.now, BEGIN_MS + round(self.now * 1000))

    def _final(self, key: LogKey, entry_id: EntryId, entry: Entry) -> None:
        self.server.logs[key].append((entry_id, entry))
        self._receive(on.FinalsRead(key.track, [(entry_id, entry)]))

    def _receive(self, event: on.Event) -> None:
        assert self.machine is not None
        waiting = deque([event])
        while waiting:
            for effect in self.machine.receive(waiting.popleft(), self._moment):
                match effect:
                    case on.Send(message):
                        self.sent.append({"by": "server", "text": message.model_dump(mode="json")})
                    case on.Forward(_, data, _):
                        self.sent.append({"by": "server", "text": json.loads(data)})
                    case on.SetTimer(at):
                        self.timer = at
                    case _:
                        waiting.extend(self._answer(effect))

    def _answer(self, effect: on.Effect) -> list[on.Event]:
        match effect:
            case on.Open() if self.error is not None:
                error, self.error = self.error, None
                return [on.Failed(error, on.Code.NO_CAPACITY)]
            case on.Open(record):
                opened = self.server.open(record)
                return [on.OpenLost() if opened is None else on.Opened(opened)]
            case on.Connect(session, token):
                record = self.server.connect(session, token)
                tails = [
                    (self.server.tail(LogKey(key, LogName.AUDIO)), self.server.tail(LogKey(key, LogName.FINALS)))
                    for key in (record.track_keys() if record else ())
                ]
                return [on.Connected(record, tails)]
            case on.Append(track, entry_id, entry):
                return [on.AppendDone(track, self.server.append(LogKey(track, LogName.AUDIO), entry_id, entry))]
            case on.ReadTail(track):
                return [on.TailRead(track, self.server.tail(LogKey(track, LogName.AUDIO)))]
            case on.ReadRecord(session):
                return [on.RecordRead(self.server.records.get(session))]
            case on.Follow(record) if record is not None:
                assert self.machine is not None
                return [
                    on.FinalsRead(track, news)
                    for track in record.track_keys()
                    if (news := self.server.logs[LogKey(track, LogName.FINALS)][1:])
                ]
            case _:
                return []
