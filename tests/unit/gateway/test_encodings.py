"""G.711 at the door: known values of its tables, and sound that is the same however it is cut."""

from __future__ import annotations

import itertools
import sys

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.test_session import append, appends, sent
from tests.unit.gateway.test_states import Rig

from stenoflow.base.errors import ClientError
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import HEADER, VERSION
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.encodings import decoder_of


def to_pcm(payload: bytes, encoding: str) -> bytes:
    return decoder_of(encoding)(payload)


def decoded(code: int, encoding: str) -> int:
    return int.from_bytes(to_pcm(bytes([code]), encoding), "little", signed=True)


@pytest.mark.parametrize(
    ("code", "value"),
    # ITU-T G.711, table 2a: decoder output values, 14 bits; four times that in 16 bits.
    [(0xFF, 0), (0x7F, 0), (0x80, 4 * 8031), (0x00, -4 * 8031), (0xEF, 4 * 33), (0xF0, 4 * 30), (0x8F, 4 * 4191)],
)
def test_known_values_of_mu_law(code: int, value: int) -> None:
    assert decoded(code, "mulaw") == value


@pytest.mark.parametrize(
    ("code", "value"),
    # Table 1a: decoder output values, 13 bits; eight times that in 16 bits.
    [(0xD5, 8), (0x55, -8), (0xAA, 8 * 4032), (0x2A, -8 * 4032), (0xC5, 8 * 33), (0xF5, 8 * 66)],
)
def test_known_values_of_a_law(code: int, value: int) -> None:
    assert decoded(code, "alaw") == value


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_both_laws_are_odd_and_reach_every_level_once(encoding: str) -> None:
    table = np.frombuffer(to_pcm(bytes(range(256)), encoding), "<i2").astype(int)
    assert np.array_equal(table[:128], -table[128:])
    positive = np.sort(np.abs(table[:128]))
    assert len(np.unique(positive)) == 128
    steps = np.diff(positive)
    assert np.all(np.diff(steps) >= 0), "steps grow with the level"


def opened(encoding: str) -> Rig:
    rig = Rig()
    track = wire.TrackRequest(name="a", encoding=encoding, sample_rate=8000)  # type: ignore[arg-type]
    rig.tell(rig.opened(rig.text(wire.Start(tracks=(track,)))))
    return rig


def frame(position: int, payload: bytes) -> on.Binary:
    return on.Binary(HEADER.pack(VERSION, 0, 0, position) + payload)


@given(st.lists(st.integers(0, 900), max_size=6), st.sampled_from(["mulaw", "alaw"]))
def test_any_cut_gives_the_same_log(cuts: list[int], encoding: str) -> None:
    payload = bytes(at * 7 % 256 for at in range(900))
    rig = opened(encoding)
    log = b""
    for begin, end in itertools.pairwise([0, *sorted(cuts), 900]):
        for effect in appends(rig.tell(frame(begin, payload[begin:end]))):
            log += effect.entry.data
            assert effect.entry.begin == len(log) // 2 - len(effect.entry.data) // 2
            rest = [effect]
            while rest:
                following = appends(append(rig, rest.pop()))
                log += b"".join(each.entry.data for each in following)
                rest += following
    assert log == to_pcm(payload, encoding)


def test_what_came_before_is_dropped_by_samples_and_the_window_counts_samples() -> None:
    rig = opened("mulaw")
    [first] = appends(rig.tell(frame(0, bytes(100))))
    assert (first.entry.end, len(first.entry.data)) == (100, 200)
    rig.tell(frame(50, bytes(100)))
    [second] = appends(append(rig, first))
    assert (second.entry.begin, second.entry.end) == (100, 150)
    assert sent(rig.tell(frame(150, bytes(2 * 8000 + 1))))[0].code == "oversized_frame"


def test_an_odd_number_of_bytes_is_wrong_for_samples_of_two_alone() -> None:
    assert len(to_pcm(b"abc", "alaw")) == 6
    with pytest.raises(ClientError) as refused:
        to_pcm(b"abc", "pcm_s16le")
    assert refused.value.code == "odd_byte_count"


def test_a_session_is_resumed_in_its_own_encoding() -> None:
    first = opened("mulaw")
    record = first.machine.record
    rig = Rig()
    track = wire.TrackRequest(name="a", encoding="alaw", sample_rate=8000)
    rig.text(wire.Start(tracks=(track,), resume=wire.Resume(token=first.machine._token)))
    [error] = sent(rig.tell(on.Connected(record, [(None, None)])))
    assert error.code == "tracks_changed"


# ---------------------------------------------------------------- Opus


def packets(seconds: float = 0.4, hertz: float = 440) -> tuple[list[bytes], np.ndarray]:
    """A tone as Opus packets of 20 ms, and its samples at 48 kHz."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.bit_rate = 32_000
    tone = (8000 * np.sin(2 * np.pi * hertz * np.arange(round(48_000 * seconds)) / 48_000)).astype(np.int16)
    found: list[bytes] = []
    for begin in range(0, len(tone), 960):
        frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 960], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, begin
        found += [bytes(packet) for packet in encoder.encode(frame)]
    return found, tone


def opened_opus() -> Rig:
    rig = Rig()
    track = wire.TrackRequest(name="a", encoding="opus", sample_rate=48_000)
    rig.tell(rig.opened(rig.text(wire.Start(tracks=(track,)))))
    return rig


def test_opus_packets_become_the_sound_that_they_hold_at_positions_of_48_khz() -> None:
    rig = opened_opus()
    found, tone = packets()
    log = b""
    for number, packet in enumerate(found):
        for effect in appends(rig.tell(frame(960 * number, packet))):
            log += effect.entry.data
            append(rig, effect)
    heard = np.frombuffer(log, "<i2").astype(float)
    assert len(heard) == 960 * len(found)
    spectrum = np.abs(np.fft.rfft(heard[4800:]))
    assert np.argmax(spectrum) / len(heard[4800:]) * 48_000 == pytest.approx(440, abs=5)
    assert np.abs(heard[4800:]).max() == pytest.approx(np.abs(tone).max(), rel=0.2)


def test_what_is_no_packet_is_a_typed_error_and_an_empty_frame_is_none() -> None:
    rig = opened_opus()
    found, _ = packets(0.1)
    assert sent(rig.tell(frame(0, b""))) == []
    append(rig, appends(rig.tell(frame(0, found[0])))[0])
    [error] = sent(rig.tell(frame(960, b"\xff" * 3)))
    assert error.code == "malformed_packet"


def test_opus_counts_at_48_khz_and_nothing_else() -> None:
    rig = Rig()
    track = wire.TrackRequest(name="a", encoding="opus", sample_rate=16_000)
    [error] = sent(rig.text(wire.Start(tracks=(track,))))
    assert error.code == "unsupported_sample_rate"


def test_a_gateway_without_the_library_says_so_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    rig = Rig()
    track = wire.TrackRequest(name="a", encoding="opus", sample_rate=48_000)
    effects = rig.text(wire.Start(tracks=(track,)))
    assert sent(effects)[0].code == "opus_missing"
    assert not any(isinstance(effect, on.Open) for effect in effects)
