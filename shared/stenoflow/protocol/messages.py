"""Every text message of the protocol, version 1, defined once (DESIGN 7).

``received``, ``committed``, ``next`` and ``window_end`` count the client's samples; positions in captions count
16 kHz samples. Messages are frozen; ``parse_client`` and ``parse_server`` tell them apart by ``type``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stenoflow.base.errors import ClientError
from stenoflow.base.ids import MAX_TRACKS
from stenoflow.base.positions import CLIENT_RATES

SUBPROTOCOL = "stenoflow.v1"


class Message(BaseModel):
    """Common to all messages: immutable, and strict about what it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------- client → server


class TrackRequest(Message):
    """One voice channel that the client will send."""

    name: str = Field(min_length=1, max_length=64)
    encoding: Literal["pcm_s16le"] = "pcm_s16le"
    sample_rate: int
    duration_s: float | None = Field(default=None, gt=0)
    """Length of the whole, where it is known (files): progress gets a fraction."""


class Endpointing(Message):
    """When an utterance ends."""

    trailing_silence_ms: int = Field(default=480, ge=240, le=2000)
    max_utterance_s: float = Field(default=20.0, ge=5, le=20)


class ResumeTrack(Message):
    """How far the client has seen finals of one track."""

    track: int = Field(ge=0, lt=MAX_TRACKS)
    committed: int = Field(ge=0)


class Resume(Message):
    """Asks to go on with a session that another socket began."""

    token: str = Field(min_length=16, max_length=256)
    tracks: tuple[ResumeTrack, ...] = ()


class Boost(Message):
    """A phrase that may be said: a name, a product."""

    phrase: str = Field(min_length=1, max_length=80)
    weight: float = Field(default=1.0, ge=0, le=10)


class Start(Message):
    """First message of every connection."""

    type: Literal["start"] = "start"
    kind: Literal["live", "file"] = "live"
    tracks: tuple[TrackRequest, ...] = Field(min_length=1, max_length=MAX_TRACKS)
    bundle: str | None = None
    chunk_ms: Literal[80, 160, 320, 640] = 160
    partials: bool = True
    endpointing: Endpointing = Endpointing()
    second_pass: str | None = Field(default=None, min_length=1, max_length=64)
    """A model that hears each utterance again as it ends, by name; ``off`` for none, by default what is served."""
    boost: tuple[Boost, ...] = Field(default=(), max_length=100)
    """Phrases that the second pass is told to expect."""
    metadata: dict[str, str] = {}
    resume: Resume | None = None


class Finalize(Message):
    """End the open utterance now; of one track, or of all."""

    type: Literal["finalize"] = "finalize"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)


class Stop(Message):
    """No more sound comes; of one track, or of all. Finals follow, then ``ended``."""

    type: Literal["stop"] = "stop"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)


ClientMessage = Annotated[Start | Finalize | Stop, Field(discriminator="type")]


# ---------------------------------------------------------------- server → client


class StartedTrack(Message):
    """Where the client goes on."""

    track: int
    name: str
    next: int
    """Send from this sample on."""
    committed: int


class Limits(Message):
    """What the server will take."""

    window_s: float
    max_frame_s: float
    max_tracks: int


class Started(Message):
    """The session is open; audio may come."""

    type: Literal["started"] = "started"
    session: str
    resume_token: str
    bundle: str
    second_pass: str = ""
    """The model of the second pass; empty where there is none."""
    tracks: tuple[StartedTrack, ...]
    limits: Limits


class AckTrack(Message):
    """What the server has of one track."""

    track: int
    received: int
    committed: int
    window_end: int
    """Do not send beyond."""


class Ack(Message):
    """What the server has; also the sign that it lives: at least every 500 ms."""

    type: Literal["ack"] = "ack"
    tracks: tuple[AckTrack, ...]


class Partial(Message):
    """The best guess at an utterance that is not final. A later revision supersedes it, its final drops it.

    With a second pass an utterance that has ended is a draft until its final comes: a partial that is stable to its
    end. Partials of the next utterance come meanwhile.
    """

    type: Literal["partial"] = "partial"
    track: int
    utterance: int
    revision: int
    """The position it was decoded to: grows."""
    begin: int
    end: int
    text: str
    stable: int
    """Characters of ``text`` that will not change."""


class Word(Message):
    """One word and where it is in the sound. Plain: without case and punctuation."""

    word: str
    begin: int
    end: int
    confidence: float


class Alternative(Message):
    """Another reading of an utterance."""

    text: str
    score: float
    """Natural logarithm of the fused probability, relative to nothing: compare within one utterance."""


class Final(Message):
    """An utterance that never changes again."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    type: Literal["final"] = "final"
    track: int
    utterance: int
    begin: int
    end: int
    text: str
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()
    confidence: float
    pass_: Literal[1, 2] = Field(default=1, alias="pass")
    """1: as decoded while it was spoken; 2: as heard again by the second pass."""


class ProgressTrack(Message):
    """How far the stages are on one track, 16 kHz samples."""

    track: int
    received: int
    features: int
    acoustic: int
    decoder: int
    second_pass: int | None = None
    """End of what is final, where there is a second pass."""
    behind_s: float
    """Seconds of sound that were received and are not decoded."""
    fraction: float | None = None
    """Share of a file of known length that is decoded."""


class Progress(Message):
    """How far the session is, at least every 500 ms."""

    type: Literal["progress"] = "progress"
    tracks: tuple[ProgressTrack, ...]


class LatencySteps(Message):
    """Milliseconds that the newest caption spent in each step."""

    queue: float
    features: float
    acoustic: float
    decoder: float
    back: float


class Latency(Message):
    """How long the newest caption took from the chunk's last byte to here."""

    type: Literal["latency"] = "latency"
    track: int
    total_ms: float
    chunk_ms: int
    """Length of a chunk: the floor that the client itself adds."""
    look_ahead_ms: int
    """What the model waits for before it decides."""
    steps: LatencySteps


class Hint(Message):
    """Something about the sound that a person can mend."""

    code: str
    message: str


class Quality(Message):
    """How one track sounds."""

    type: Literal["quality"] = "quality"
    track: int
    level_db: float
    clipping: float
    snr_db: float | None
    bandwidth_hz: int | None
    hint: Hint | None


class Status(Message):
    """The session's condition changed. After ``rewind`` send again from ``next``."""

    type: Literal["status"] = "status"
    status: Literal["normal", "behind", "rewind", "reduced"]
    track: int | None = None
    next: int | None = None


class Warning(Message):  # noqa: A001  the protocol's own name
    """Something was not as it should be; the session goes on."""

    type: Literal["warning"] = "warning"
    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None


class Error(Message):
    """The request was refused or the session ends."""

    type: Literal["error"] = "error"
    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None


class Reconnect(Message):
    """This gateway drains: connect again (the address may lead to another one) and resume."""

    type: Literal["reconnect"] = "reconnect"


class EndedTrack(Message):
    """Totals of one track."""

    track: int
    received: int
    committed: int
    utterances: int
    words: int


class Ended(Message):
    """All is said; the last message."""

    type: Literal["ended"] = "ended"
    tracks: tuple[EndedTrack, ...]


ServerMessage = Annotated[
    Started | Ack | Partial | Final | Progress | Latency | Quality | Status | Warning | Error | Reconnect | Ended,
    Field(discriminator="type"),
]

_client: TypeAdapter[Any] = TypeAdapter(ClientMessage)
_server: TypeAdapter[Any] = TypeAdapter(ServerMessage)


def parse_client(text: str | bytes) -> Start | Finalize | Stop:
    """Parses what a client sent.

    Raises:
        ClientError: ``malformed_message`` (no JSON), ``unknown_message`` or ``invalid_message``.
    """
    try:
        message: Start | Finalize | Stop = _client.validate_json(text)
    except ValidationError as error:
        raise _explained(error) from None
    if isinstance(message, Start):
        for number, track in enumerate(message.tracks):
            if track.sample_rate not in CLIENT_RATES:
                rates = ", ".join(str(rate) for rate in CLIENT_RATES)
                raise ClientError(
                    "unsupported_sample_rate",
                    f"track {number} has {track.sample_rate} Hz; send one of {rates} Hz",
                )
    return message


def parse_server(text: str | bytes) -> Any:
    """Parses what a server sent (clients and tests).

    Raises:
        ClientError: as :func:`parse_client`; the peer is then no Stenoflow server of this version.
    """
    try:
        return _server.validate_json(text)
    except ValidationError as error:
        raise _explained(error) from None


def _explained(error: ValidationError) -> ClientError:
    """Says what is wrong without repeating what the peer sent (it may hold words or a token)."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "message"
    match first["type"]:
        case "json_invalid":
            return ClientError("malformed_message", "a text message must be one JSON object with a 'type'")
        case "union_tag_invalid" | "union_tag_not_found":
            return ClientError("unknown_message", "the message's 'type' is missing or unknown; see the protocol page")
        case _:
            return ClientError("invalid_message", f"{where}: {first['msg']}")
