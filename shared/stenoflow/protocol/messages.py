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

OPUS_RATE = 48_000
"""Opus counts at this rate, whatever was encoded (RFC 7587, 4.1)."""

MAX_BOOST = 1000
MAX_SPOT = 50
SPOT_THRESHOLD = 0.4
"""Of a phrase that names none; see the decoder's README for what it finds."""


class Message(BaseModel):
    """Common to all messages: immutable, and strict about what it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


# ---------------------------------------------------------------- client → server


class TrackRequest(Message):
    """One voice channel that the client will send."""

    name: str = Field(min_length=1, max_length=64)
    """What the voice is called: agent, customer."""
    encoding: Literal["pcm_s16le", "mulaw", "alaw", "opus"] = "pcm_s16le"
    """Of one channel: 16-bit little-endian PCM, G.711 with a byte a sample, or Opus with a packet a frame."""
    sample_rate: int
    """Hz: 8000, 16000, 24000, 32000, 44100 or 48000."""
    duration_s: float | None = Field(default=None, gt=0)
    """Length of the whole, where it is known (files): progress gets a fraction."""


class Endpointing(Message):
    """When an utterance ends."""

    trailing_silence_ms: int = Field(default=480, ge=240, le=2000)
    """Quiet that ends an utterance, milliseconds."""
    silence_after_words_ms: int = Field(default=3000, ge=500, le=10_000)
    """So long without a letter, where the detector still hears speech, ends an utterance with words, milliseconds."""
    silence_without_words_ms: int = Field(default=2000, ge=500, le=10_000)
    """So long without a word ends a stretch that has none: what lies before is then final, milliseconds."""
    max_utterance_s: float = Field(default=20.0, ge=5, le=20)
    """An utterance is cut at this length, seconds."""


class ResumeTrack(Message):
    """How far the client has seen finals of one track."""

    track: int = Field(ge=0, lt=MAX_TRACKS)
    """Track number, from 0, in the order of ``tracks``."""
    committed: int = Field(ge=0, le=2**47)
    """End of the newest final that the client has, in its own samples."""


class Resume(Message):
    """Asks to go on with a session that another socket began."""

    token: str = Field(min_length=16, max_length=256)
    """The ``resume_token`` of ``started``."""
    tracks: tuple[ResumeTrack, ...] = ()
    """How far the client has finals; a track that is left out counts from its beginning."""


class Boost(Message):
    """A phrase that may be said: a name, a product."""

    phrase: str = Field(min_length=1, max_length=80)
    """As people say and write it."""
    weight: float = Field(default=1.0, ge=0, le=10)
    """How much likelier it is made; 0 not at all."""


class Spot(Message):
    """A phrase whose every occurrence is told: by ``spotted``, whatever the captions say."""

    phrase: str = Field(min_length=1, max_length=80)
    """As people say it: up to 8 words, numbers in words; what holds a digit is never found."""
    threshold: float = Field(default=SPOT_THRESHOLD, gt=0, le=1)
    """Scores from here on are told; less finds more and is wrong more often."""


class Start(Message):
    """First message of every connection."""

    type: Literal["start"] = "start"
    kind: Literal["live", "file"] = "live"
    """``live``: at the pace of speech, a short window. ``file``: as fast as the window allows."""
    tracks: tuple[TrackRequest, ...] = Field(min_length=1, max_length=MAX_TRACKS)
    """One for each voice channel."""
    bundle: str | None = None
    """The model, by name; by default the one that is served."""
    chunk_ms: Literal[80, 160, 320, 640] = 160
    """Length of the pieces that the client sends, milliseconds; ``latency`` names it again."""
    partials: bool = True
    """Whether ``partial`` messages come."""
    endpointing: Endpointing = Endpointing()
    """When utterances end."""
    second_pass: str | None = Field(default=None, min_length=1, max_length=64)
    """A model that hears each utterance again as it ends, by name; ``off`` for none, by default what is served."""
    boost: tuple[Boost, ...] = Field(default=(), max_length=MAX_BOOST)
    """Phrases that both passes are told to expect; names above all, also those that no lexicon has."""
    spot: tuple[Spot, ...] = Field(default=(), max_length=MAX_SPOT)
    """Phrases whose every occurrence is told."""
    lm_weight: float = Field(default=1.0, ge=0, le=3)
    """Factor on the weight that the bundle gives its language model; 0: the sound alone decides."""
    alternatives: int = Field(default=0, ge=0, le=10)
    """Other readings that come with a final of the first pass, at most."""
    metadata: dict[str, str] = Field(default={}, max_length=32)
    """The caller's own notes: they come with the session in ``GET /v1/sessions``."""
    retention_s: int | None = Field(default=None, ge=60)
    """For how long captions are kept after the end, seconds; no longer than the server keeps any."""
    resume: Resume | None = None
    """Given to go on with a session; all other fields are given again."""


class Configure(Message):
    """Other settings from the next sample on. What is left out stays as it is; what is given replaces all of it."""

    type: Literal["configure"] = "configure"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)
    """Track number; all where it is left out."""
    endpointing: Endpointing | None = None
    """When utterances end."""
    partials: bool | None = None
    """Whether ``partial`` messages come."""
    boost: tuple[Boost, ...] | None = Field(default=None, max_length=MAX_BOOST)
    """Phrases to expect, instead of those before; empty: none."""
    spot: tuple[Spot, ...] | None = Field(default=None, max_length=MAX_SPOT)
    """Phrases whose every occurrence is told, instead of those before; empty: none."""
    lm_weight: float | None = Field(default=None, ge=0, le=3)
    """Factor on the language model's weight."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it changes, as JSON holds them."""
        return self.model_dump(mode="json", exclude={"type", "track"}, exclude_none=True)


def configured(start: Start, configure: Configure) -> Start:
    """A ``start`` with the settings of a later ``configure``: what a connection that comes after it begins with."""
    given = {name: getattr(configure, name) for name in configure.settings}
    return start.model_copy(update=given)


class Finalize(Message):
    """End the open utterance now; of one track, or of all."""

    type: Literal["finalize"] = "finalize"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)
    """Track number; all where it is left out."""


class Pause(Message):
    """Mute: from here on a track's sound counts as silence, until ``resume``; of one track, or of all.

    The open utterance ends. Positions go on: sound that comes all the same is thrown away at the door, and a frame
    without samples says that all before its position was silence. Said twice it is said once.
    """

    type: Literal["pause"] = "pause"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)
    """Track number; all where it is left out."""


class Unpause(Message):
    """Sound counts again from here on; of one track, or of all."""

    type: Literal["resume"] = "resume"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)
    """Track number; all where it is left out."""


class Stop(Message):
    """No more sound comes; of one track, or of all. Finals follow, then ``ended``."""

    type: Literal["stop"] = "stop"
    track: int | None = Field(default=None, ge=0, lt=MAX_TRACKS)
    """Track number; all where it is left out."""


ClientMessage = Annotated[Start | Configure | Finalize | Pause | Unpause | Stop, Field(discriminator="type")]


# ---------------------------------------------------------------- server → client


class StartedTrack(Message):
    """Where the client goes on."""

    track: int
    """Track number, from 0."""
    name: str
    """As in ``start``."""
    next: int
    """Send from this sample on."""
    committed: int
    """All before it is final, client samples: what lies before may be forgotten."""
    paused: bool = False
    """The track is muted at ``next``: it was when the last sound came."""


class Limits(Message):
    """What the server will take."""

    window_s: float
    """Seconds of sound that may be sent beyond what is decoded."""
    max_frame_s: float
    """Longest binary frame, seconds of sound."""
    max_tracks: int
    """Tracks of one session, at most."""


class Started(Message):
    """The session is open; audio may come."""

    type: Literal["started"] = "started"
    session: str
    """Names the session in logs; no secret."""
    resume_token: str
    """The secret with which another socket goes on with this session."""
    bundle: str
    """The model of the first pass."""
    second_pass: str = ""
    """The model of the second pass; empty where there is none."""
    tracks: tuple[StartedTrack, ...]
    """Where each track goes on."""
    limits: Limits
    """What the server will take."""


class AckTrack(Message):
    """What the server has of one track."""

    track: int
    """Track number."""
    received: int
    """End of what is safe in the log, client samples."""
    committed: int
    """All before it is final, client samples: the client may forget it."""
    window_end: int
    """Do not send beyond."""


class Ack(Message):
    """What the server has; also the sign that it lives: at least every 500 ms."""

    type: Literal["ack"] = "ack"
    tracks: tuple[AckTrack, ...]
    """One for each track."""


class Partial(Message):
    """The best guess at an utterance that is not final. A later revision supersedes it, its final drops it.

    With a second pass an utterance that has ended is a draft until its final comes: a partial that is stable to its
    end. Partials of the next utterance come meanwhile.
    """

    type: Literal["partial"] = "partial"
    track: int
    """Track number."""
    utterance: int
    """Number of the utterance on its track."""
    revision: int
    """The position it was decoded to: grows."""
    begin: int
    """16 kHz samples."""
    end: int
    """16 kHz samples."""
    text: str
    """The whole utterance so far."""
    stable: int
    """Characters of ``text`` that will not change."""


class Word(Message):
    """One word and where it is in the sound. Plain: without case and punctuation."""

    word: str
    """Lower case."""
    begin: int
    """16 kHz samples."""
    end: int
    """16 kHz samples."""
    confidence: float
    """0 to 1: how likely the word is right."""


class Alternative(Message):
    """Another reading of an utterance."""

    text: str
    """The other reading."""
    score: float
    """Natural logarithm of how much likelier it is than the final's own text: below 0."""


class Final(Message):
    """An utterance that never changes again."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    type: Literal["final"] = "final"
    track: int
    """Track number."""
    utterance: int
    """Number of the utterance on its track."""
    begin: int
    """16 kHz samples."""
    end: int
    """16 kHz samples."""
    text: str
    """What was said; with case and punctuation where the second pass heard it."""
    words: tuple[Word, ...]
    """In order, with times."""
    alternatives: tuple[Alternative, ...] = ()
    """Other readings, the likeliest first."""
    confidence: float
    """0 to 1, of the whole utterance."""
    pass_: Literal[1, 2] = Field(default=1, alias="pass")
    """1: as decoded while it was spoken; 2: as heard again by the second pass."""


class Spotted(Message):
    """A phrase of ``spot`` was said. It may come before its utterance is final, and again after a resume.

    The same ``track``, ``phrase`` and ``end`` are the same occurrence.
    """

    type: Literal["spotted"] = "spotted"
    track: int
    """Track number."""
    phrase: str
    """As it was asked for."""
    begin: int
    """16 kHz samples."""
    end: int
    """16 kHz samples."""
    score: float
    """0 to 1: 1 where no other letters are likelier anywhere."""


class ProgressTrack(Message):
    """How far the stages are on one track, 16 kHz samples."""

    track: int
    """Track number."""
    received: int
    """End of the sound that has come."""
    features: int
    """End of what the features stage has done."""
    acoustic: int
    """End of what the acoustic model has done."""
    decoder: int
    """End of what is decoded."""
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
    """One for each track."""


class LatencySteps(Message):
    """Milliseconds that the newest caption spent in each step."""

    queue: float
    """Waiting between the stages."""
    features: float
    """In the features stage."""
    acoustic: float
    """In the acoustic model."""
    decoder: float
    """In the decoder."""
    back: float
    """From the decoder to the gateway's socket."""


class Latency(Message):
    """How long the newest caption took from the chunk's last byte to here."""

    type: Literal["latency"] = "latency"
    track: int
    """Track number of the caption."""
    total_ms: float
    """From the arrival of its newest sound at the gateway, milliseconds."""
    chunk_ms: int
    """Length of a chunk: the floor that the client itself adds."""
    look_ahead_ms: int
    """What the model waits for before it decides."""
    steps: LatencySteps
    """The parts of ``total_ms``."""


class Hint(Message):
    """Something about the sound that a person can mend."""

    code: str
    """Stable name of the hint."""
    message: str
    """A sentence for the person who speaks."""


class Quality(Message):
    """How one track sounds."""

    type: Literal["quality"] = "quality"
    track: int
    """Track number."""
    level_db: float
    """Level of the last second, dBFS."""
    clipping: float
    """Share of samples that are cut off, 0 to 1."""
    snr_db: float | None
    """Speech over background, dB; null until it can be told."""
    bandwidth_hz: int | None
    """Highest frequency that carries speech, Hz; null until it can be told."""
    hint: Hint | None
    """The one thing to mend first; null where nothing is."""


class Status(Message):
    """The session's condition changed. After ``rewind`` send again from ``next``."""

    type: Literal["status"] = "status"
    status: Literal["normal", "behind", "rewind", "reduced"]
    """``behind``: captions wait. ``reduced``: without second pass. ``rewind``: send again. ``normal``: all well."""
    track: int | None = None
    """The track to rewind; null where all are meant."""
    next: int | None = None
    """For ``rewind``: the client sample to go on from."""


class Warning(Message):  # noqa: A001  the protocol's own name
    """Something was not as it should be; the session goes on."""

    type: Literal["warning"] = "warning"
    code: str
    """Stable name; see the page of errors."""
    message: str
    """A sentence that says what to do."""
    retryable: bool
    """Whether the same may be sent again."""
    retry_after_ms: int | None = None
    """When to try again, milliseconds; null where that is not known."""


class Error(Message):
    """The request was refused or the session ends."""

    type: Literal["error"] = "error"
    code: str
    """Stable name; see the page of errors."""
    message: str
    """A sentence that says what to do."""
    retryable: bool
    """Whether the same request may succeed later, unchanged."""
    retry_after_ms: int | None = None
    """When to try again, milliseconds; null where that is not known."""


class Reconnect(Message):
    """This gateway drains: connect again (the address may lead to another one) and resume."""

    type: Literal["reconnect"] = "reconnect"


class EndedTrack(Message):
    """Totals of one track."""

    track: int
    """Track number."""
    received: int
    """Samples that came, client samples."""
    committed: int
    """End of the last final, client samples."""
    utterances: int
    """Finals with text."""
    words: int
    """Words in them."""


class Ended(Message):
    """All is said; the last message."""

    type: Literal["ended"] = "ended"
    tracks: tuple[EndedTrack, ...]
    """One for each track."""


ServerMessage = Annotated[
    Started
    | Ack
    | Partial
    | Final
    | Spotted
    | Progress
    | Latency
    | Quality
    | Status
    | Warning
    | Error
    | Reconnect
    | Ended,
    Field(discriminator="type"),
]

_client: TypeAdapter[Any] = TypeAdapter(ClientMessage)
_server: TypeAdapter[Any] = TypeAdapter(ServerMessage)


def parse_client(text: str | bytes) -> Start | Configure | Finalize | Pause | Unpause | Stop:
    """Parses what a client sent.

    Raises:
        ClientError: ``malformed_message`` (no JSON), ``unknown_message`` or ``invalid_message``.
    """
    try:
        message: Start | Configure | Finalize | Pause | Unpause | Stop = _client.validate_json(text)
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
            if track.encoding == "opus" and track.sample_rate != OPUS_RATE:
                raise ClientError(
                    "unsupported_sample_rate",
                    f"track {number} is Opus and has {track.sample_rate} Hz; its positions count {OPUS_RATE} Hz",
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
