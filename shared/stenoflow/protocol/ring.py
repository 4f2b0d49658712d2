"""What a client keeps of one track until it is final: sound and marks, and how far they were sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from stenoflow.protocol.messages import Configure, Finalize, Stop

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
    message: Configure | Finalize | Stop
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

    def push(self, samples: bytes) -> None:
        """Keeps samples at the end."""
        self._samples += samples

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
