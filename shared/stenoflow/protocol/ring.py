"""What a client keeps of one track until it is final: sound and marks, and how far they were sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from stenoflow.protocol.messages import Configure, Finalize, Pause, Stop, Unpause

SAMPLE_BYTES = 2


@dataclass(slots=True)
class KeptMark:
    """A mark that stands at a position of one track.

    Args:
        at: client position: all sound before it goes first.
        message: what is sent.
        sent: on this connection, after what it was last told to send again.
        configures: of a ``configure``, how many the session has had with it.
    """

    at: int
    message: Configure | Finalize | Pause | Unpause | Stop
    sent: bool = False
    configures: int = 0


@dataclass(slots=True)
class ClientTrack:
    """One track's ring; positions count the client's samples.

    Args:
        number: of the track.
        sample_rate: Hz.
        capacity: samples that are kept at most.
    """

    number: int
    sample_rate: int
    capacity: int
    begin: int = 0
    """First sample that is kept."""
    cursor: int = 0
    """Next sample to send."""
    received: int = 0
    committed: int = 0
    window_end: int = 0
    final_end: int = 0
    """End of the newest final, 16 kHz samples: one that ends no later was seen before."""
    stop_asked: bool = False
    marks: list[KeptMark] = field(default_factory=list)
    was_paused: bool = False
    """Whether it was ever paused: the server is then told, wherever sound is sent again from, how it stood there."""
    _pauses: list[tuple[int, int | None]] = field(default_factory=list)
    """Stretches that are muted; the last one may be open."""
    _samples: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        """Position after the last sample that was pushed."""
        return self.begin + len(self._samples) // SAMPLE_BYTES

    @property
    def room(self) -> int:
        """Samples that can be pushed now without losing one that may still be asked for."""
        return max(0, self.capacity - (self.end - self.begin))

    @property
    def sent_all(self) -> bool:
        """Whether all sound and marks were sent."""
        return self.cursor == self.end and all(mark.sent for mark in self.marks)

    @property
    def paused(self) -> bool:
        """Whether what is pushed now is silence."""
        return bool(self._pauses) and self._pauses[-1][1] is None

    def push(self, samples: bytes) -> None:
        """Keeps samples at the end; of what is said while it is paused, the length alone."""
        self._samples += bytes(len(samples)) if self.paused else samples

    def pause(self) -> None:
        """Mutes from the end on."""
        if not self.paused:
            self.was_paused = True
            self._pauses.append((self.end, None))
            self.marks.append(KeptMark(self.end, Pause(track=self.number)))

    def unpause(self) -> None:
        """Ends the pause at the end."""
        if self.paused:
            self._pauses[-1] = (self._pauses[-1][0], self.end)
            self.marks.append(KeptMark(self.end, Unpause(track=self.number)))

    def paused_at(self, position: int) -> bool:
        """Whether the sample at a position is muted."""
        return any(begin <= position and (end is None or position < end) for begin, end in self._pauses)

    def state_at_cursor(self) -> Pause | Unpause | None:
        """What the server is told where sound is sent again from; None where a mark there tells it."""
        if not self.was_paused or any(
            mark.at == self.cursor and isinstance(mark.message, Pause | Unpause) for mark in self.marks
        ):
            return None
        return Pause(track=self.number) if self.paused_at(self.cursor) else Unpause(track=self.number)

    def slice(self, begin: int, end: int) -> bytes:
        """Samples ``[begin, end)``, which must be kept."""
        assert self.begin <= begin <= end <= self.end
        return bytes(self._samples[(begin - self.begin) * SAMPLE_BYTES : (end - self.begin) * SAMPLE_BYTES])

    def commit(self, position: int) -> list[KeptMark]:
        """All before ``position`` is final: forgets it, and marks before it, which it returns."""
        self.committed = max(self.committed, position)
        gone = min(self.committed, self.cursor) - self.begin
        if gone > 0:
            del self._samples[: gone * SAMPLE_BYTES]
            self.begin += gone
            self._pauses = [(begin, end) for begin, end in self._pauses if end is None or end > self.begin]
        gone_marks = [
            mark for mark in self.marks if mark.sent and mark.at < self.committed and not isinstance(mark.message, Stop)
        ]
        self.marks = [mark for mark in self.marks if mark not in gone_marks]
        return gone_marks

    def move_cursor(self, position: int) -> bool:
        """Sends again from ``position``; False where that is not kept."""
        if not self.begin <= position <= self.end:
            return False
        self.cursor = position
        for mark in self.marks:
            mark.sent = mark.sent and mark.at < position
        return True
