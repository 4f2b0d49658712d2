"""A seeded world for the two machines: a lossy link, logs that may lose their end, and an echo in place of the stages.

Sound is 16 kHz and each sample says where it is, so that a final's text proves which samples the "stages" heard.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from stenoflow.base.ids import Epoch, SessionId, TrackKey
from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, LogName, Refused, Tail
from stenoflow.bus.opening import opening_entries, opening_id
from stenoflow.bus.records import SessionRecord, SessionState
from stenoflow.protocol import client as c
from stenoflow.protocol import client_events as ce
from stenoflow.protocol import messages as wire
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.machine import Session
from stenoflow_gateway.session.resume_tokens import hash_of, make_token
from stenoflow_gateway.session.states import State

RATE = 16_000
UTTERANCE = 1600


def sound(begin: int, end: int) -> bytes:
    """Samples that say where they are."""
    return struct.pack(f"<{end - begin}H", *((at * 31) & 0xFFFF for at in range(begin, end)))


def said(begin: int, end: int) -> str:
    """What the echo makes of ``[begin, end)``."""
    return f"{begin}-{end}-{zlib.crc32(sound(begin, end)):08x}"


def heard_in(entry: Entry) -> bytes:
    """What a stage hears in an audio entry: zeros where no span covers it."""
    samples = bytearray(2 * (entry.end - entry.begin))
    for span in entry.spans:
        samples[2 * (span.begin - entry.begin) : 2 * (span.end - entry.begin)] = entry.frames(span)
    return bytes(samples)


class Server:
    """Logs and records, as far as the machine sees them."""

    def __init__(self) -> None:
        self.records: dict[SessionId, SessionRecord] = {}
        self.logs: dict[LogKey, list[tuple[EntryId, Entry]]] = {}
        self.full = False
        self._epochs = 0

    def open(self, record: SessionRecord) -> SessionRecord | None:
        there = self.records.get(record.id)
        if there is not None and there.connection > record.connection:
            return None
        self._epochs += 1
        record = msgspec.structs.replace(record, epoch=Epoch(f"e{self._epochs}"), bundle=record.bundle or "test")
        self.logs = {key: log for key, log in self.logs.items() if key.track.session != record.id}
        self.records[record.id] = record
        for name, entries in opening_entries(record).items():
            for entry in entries:
                self.logs[LogKey(entry.track, name)] = [(opening_id(entry), entry)]
        return record

    def connect(self, session: SessionId, token: str) -> SessionRecord | None:
        record = self.records.get(session)
        if record is None:
            return None
        assert record.token_hash == hash_of(token)
        record = msgspec.structs.replace(record, connection=record.connection + 1)
        self.records[session] = record
        return record

    def append(self, key: LogKey, entry_id: EntryId, entry: Entry) -> Any:
        log = self.logs.get(key)
        if log is None:
            return Gone()
        if self.full:
            return Full("no memory")
        if entry_id <= log[-1][0]:
            return Refused("not greater")
        log.append((entry_id, entry))
        return Appended(entry_id)

    def tail(self, key: LogKey) -> Tail | None:
        log = self.logs.get(key)
        if log is None:
            return None
        entry_id, entry = log[-1]
        marks = [mark for _, other in log if other.end == entry.end for mark in other.marks if mark.at == entry.end]
        return Tail(entry_id, entry, tuple(marks), sum(len(other.marks) for _, other in log))

    def echo(self, session: SessionId) -> None:
        """The stages: one final per ``UTTERANCE`` samples, and the end."""
        record = self.records.get(session)
        if record is None or record.state is not SessionState.OPEN:
            return
        for track in record.track_keys():
            audio = self.logs.get(LogKey(track, LogName.AUDIO))
            finals = self.logs.get(LogKey(track, LogName.FINALS))
            if audio is None or finals is None or finals[-1][1].ends:
                continue
            pcm, base = b"", record.tracks[track.number].base
            for _, entry in audio[1:]:
                if entry.begin > base + len(pcm) // 2:  # sentence 1: loudly, and never on in silence
                    error = ("log_gap", "positions are missing")
                    self.records[session] = msgspec.structs.replace(record, state=SessionState.BROKEN, error=error)
                    return
                # Two sockets of one client may overlap; what is known already is skipped.
                pcm += heard_in(entry)[2 * (base + len(pcm) // 2 - entry.begin) :]
            over = audio[-1][1].ends
            done = finals[-1][1].end
            heard = base + len(pcm) // 2
            while done < heard and (heard - done >= UTTERANCE or over):
                end = min(heard, (done // UTTERANCE + 1) * UTTERANCE)
                piece = pcm[2 * (done - base) : 2 * (end - base)]
                text = f"{done}-{end}-{zlib.crc32(piece):08x}"
                final = wire.Final(
                    track=track.number,
                    utterance=done // UTTERANCE,
                    begin=done,
                    end=end,
                    text=text,
                    words=(wire.Word(word=text, begin=done, end=end, confidence=1.0),),
                    confidence=1.0,
                )
                data = final.model_dump_json().encode()
                finals.append((EntryId(end, 1), Entry(track, Kind.FINAL, done, end, data=data)))
                done = end
            if over and done == heard:
                mark = Mark(MarkKind.END, done, "client", 0)
                finals.append((END_ID, Entry(track, Kind.FINAL, done, done, marks=(mark,))))


@dataclass
class Link:
    """One connection: two queues, and whether each side believes in it."""

    number: int
    machine: Session
    up: deque[on.Event] = field(default_factory=deque)
    down: deque[str] = field(default_factory=deque)
    bus: deque[on.Effect] = field(default_factory=deque)
    client_alive: bool = True
    gateway_alive: bool = True
    closing: bool = False
    timer: float | None = None
    followed: SessionRecord | None = None
    read: dict[TrackKey, EntryId] = field(default_factory=dict)
    known_server: int = 0


class World:
    """One client, as many gateway sockets as it takes, one server."""

    def __init__(self, seed: int, *, tracks: int = 1, samples: int = 16_000, faults: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.now = 100.0
        self.server = Server()
        self.generation = 0
        self.samples = samples
        self.start = wire.Start(
            kind="live", tracks=tuple(wire.TrackRequest(name=f"t{n}", sample_rate=RATE) for n in range(tracks))
        )
        self.client = c.ClientSession(self.start, chance=self.random.random)
        self.client_timer: float | None = None
        self.pushed = [0] * tracks
        self.links: list[Link] = []
        self.wanted: int | None = None
        self.delivered: list[Any] = []
        self.error: Any = None
        self.over = False
        self._tell_client(ce.Begin())

    # ------------------------------------------------------------------ the two machines

    @property
    def moment(self) -> on.Moment:
        return on.Moment(self.now, int(self.now * 1000))

    def _tell_client(self, event: ce.Event) -> None:
        for effect in self.client.receive(event, self.now):
            link = self.link(self.client.connection)
            match effect:
                case ce.Connect(connection):
                    self.wanted = connection
                case ce.SendText(message):
                    if link:
                        link.up.append(on.Text(message.model_dump_json()))
                case ce.SendAudio(data):
                    if link:
                        link.up.append(on.Binary(data))
                case ce.Disconnect(connection):
                    old = self.link(connection)
                    if old:
                        old.client_alive = False
                case ce.SetTimer(at):
                    self.client_timer = at
                case ce.Deliver(message):
                    self.delivered.append(message)
                case ce.Finished(error):
                    self.over, self.error = True, error

    def link(self, number: int) -> Link | None:
        return next((link for link in self.links if link.number == number), None)

    def tell(self, link: Link, event: on.Event) -> None:
        for effect in link.machine.receive(event, self.moment):
            match effect:
                case on.Send(message):
                    link.down.append(message.model_dump_json())
                case on.Forward(_, data, _):
                    link.down.append(data.decode())
                case on.Close():
                    link.closing = True
                case on.SetTimer(at):
                    link.timer = at
                case on.Follow(record):
                    link.followed = record
                    if record is not None:
                        for key, info in zip(record.track_keys(), record.tracks, strict=True):
                            link.read[key] = EntryId(info.base, 0)
                case on.Measured():
                    pass
                case _:
                    link.bus.append(effect)

    # ------------------------------------------------------------------ what may happen

    def step(self) -> None:
        """One random thing."""
        choices = [
            self._connect,
            self._push,
            self._up,
            self._up,
            self._up,
            self._down,
            self._down,
            self._down,
            self._bus,
            self._bus,
            self._bus,
            self._echo,
            self._read,
            self._time,
            self._poll,
        ]
        if self.random.random() < self.faults:
            choices = [self._cut, self._cut, self._half_dead, self._lose_tail, self._lose_all, self._fill]
        self.random.choice(choices)()

    def run(self, steps: int = 20_000) -> None:
        """Random things until the session is over; faults end halfway."""
        for step in range(steps):
            if self.over:
                return
            if step == steps // 4:
                self.faults = 0.0
                self.server.full = False
            self.step()
        raise AssertionError(f"not over after {steps} steps: client {self.client.state}")

    def _connect(self) -> None:
        if self.wanted is None:
            return
        number, self.wanted = self.wanted, None
        session = SessionId(f"s00-{self.random.getrandbits(64):016x}")
        machine = Session(session, make_token(session, "secret-secret"), {"live": 12, "file": 60}, self.moment)
        self.links.append(Link(number, machine, known_server=self.generation))
        self._tell_client(ce.SocketOpen(number))

    def _push(self) -> None:
        if self.client.state in (c.State.IDLE, c.State.ENDED, c.State.FAILED):
            return
        track = self.random.randrange(len(self.pushed))
        begin = self.pushed[track]
        if begin < self.samples:
            end = min(self.samples, begin + self.random.randrange(1, 2000))
            self.pushed[track] = end
            self._tell_client(ce.Audio(track, sound(begin, end)))
            if self.random.random() < 0.1:
                self._tell_client(ce.FinalizeAsked(track))
        elif not self.client.tracks[track].stop_asked:
            self._tell_client(ce.StopAsked(track))

    def _up(self) -> None:
        for link in self._some(link for link in self.links if link.gateway_alive):
            if link.up:
                self.tell(link, link.up.popleft())
            elif not link.client_alive:
                link.gateway_alive = False
                self.tell(link, on.SocketGone())

    def _down(self) -> None:
        for link in self._some(link for link in self.links if link.client_alive):
            if link.down:
                self._tell_client(ce.Received(link.number, link.down.popleft()))
            elif link.closing or not link.gateway_alive:
                link.client_alive = False
                self._tell_client(ce.SocketLost(link.number))

    def _bus(self) -> None:
        for link in self._some(link for link in self.links if link.bus):
            effect = link.bus.popleft()
            lost = self.random.random() < self.faults
            match effect:
                case on.Open(record):
                    opened = self.server.open(record)
                    self.tell(link, on.OpenLost() if opened is None else on.Opened(opened))
                case on.Connect() if link.machine.state is State.CLOSED:
                    pass
                case on.Connect(session, token):
                    record = self.server.connect(session, token)
                    tails = [
                        tuple(self.server.tail(LogKey(key, name)) for name in (LogName.AUDIO, LogName.FINALS))
                        for key in (record.track_keys() if record else ())
                    ]
                    self.tell(link, on.Connected(record, tails))
                case on.Append(track, entry_id, entry):
                    outcome = self.server.append(LogKey(track, LogName.AUDIO), entry_id, entry)
                    self.tell(link, on.AppendDone(track, None if lost else outcome))
                case on.ReadTail(track):
                    self.tell(link, on.TailRead(track, self.server.tail(LogKey(track, LogName.AUDIO))))
                case on.ReadRecord(session):
                    self.tell(link, on.RecordRead(self.server.records.get(session)))
                case on.Finish(record):
                    there = self.server.records.get(record.id)
                    if there and there.epoch == record.epoch:
                        self.server.records[record.id] = msgspec.structs.replace(there, state=SessionState.ENDED)

    def _echo(self) -> None:
        for session in list(self.server.records):
            self.server.echo(session)

    def _read(self) -> None:
        for link in self._some(link for link in self.links if link.followed is not None):
            if link.known_server != self.generation:
                link.known_server = self.generation
                self.tell(link, on.ServerChanged())
                if link.followed is not None:
                    for track in link.machine.tracks:
                        link.read[track.key] = EntryId(track.committed, 0)
                return
            assert link.followed is not None
            for key in link.followed.track_keys():
                log = self.server.logs.get(LogKey(key, LogName.FINALS), [])
                news = [(entry_id, entry) for entry_id, entry in log if entry_id > link.read[key]][:3]
                if news and link.followed is not None:
                    link.read[key] = news[-1][0]
                    self.tell(link, on.FinalsRead(key, news))
                    live = Entry(key, Kind.LIVE, news[-1][1].end, news[-1][1].end)
                    if link.machine.state in (State.STREAMING, State.STOPPING):
                        self.tell(link, on.LiveRead(key, [live]))

    def _time(self) -> None:
        self.now += self.random.choice((0.001, 0.01, 0.1, 0.5))
        if self.client_timer is not None and self.now >= self.client_timer:
            self.client_timer = None
            self._tell_client(ce.Timer())
        for link in self.links:
            if link.gateway_alive and link.timer is not None and self.now >= link.timer:
                link.timer = None
                self.tell(link, on.Timer())

    # ------------------------------------------------------------------ faults

    def _cut(self) -> None:
        """The connection breaks; what was under way is lost, each side finds out in its own time."""
        for link in self._some(link for link in self.links if link.client_alive and link.gateway_alive):
            for queue in (link.up, link.down):
                for _ in range(self.random.randrange(len(queue) + 1)):
                    queue.pop()
            link.client_alive = False
            self._tell_client(ce.SocketLost(link.number))

    def _half_dead(self) -> None:
        """The gateway still believes in the connection and goes on appending what it has."""
        for link in self._some(link for link in self.links if link.client_alive and link.gateway_alive):
            self._tell_client(ce.SocketLost(link.number))

    def _lose_tail(self) -> None:
        """A failover: some logs lose their newest entries."""
        self.generation += 1
        for log in self.server.logs.values():
            for _ in range(self.random.randrange(3)):
                if len(log) > 1:
                    log.pop()

    def _lose_all(self) -> None:
        self.generation += 1
        self.server.records.clear()
        self.server.logs.clear()

    def _fill(self) -> None:
        self.server.full = not self.server.full

    def _poll(self) -> None:
        for link in self._some(link for link in self.links if link.followed is not None):
            self.tell(link, on.RecordRead(self.server.records.get(link.machine.id)))

    def _some(self, candidates: Any) -> list[Link]:
        found = list(candidates)
        return [self.random.choice(found)] if found else []


__all__ = ["RATE", "UTTERANCE", "Link", "Server", "World", "replace", "said", "sound"]
