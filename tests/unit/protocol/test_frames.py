"""The frame parser against an attacker."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenoflow.base.errors import ClientError
from stenoflow.protocol.frames import HEADER, AudioFrame, decode_frame, encode_frame
from stenoflow.protocol.messages import parse_client, parse_server


@given(
    track=st.integers(0, 255),
    position=st.integers(0, 2**53),
    samples=st.binary(max_size=64).map(lambda data: data[: len(data) // 2 * 2]),
)
def test_any_frame_comes_back_as_it_was(track: int, position: int, samples: bytes) -> None:
    frame = AudioFrame(track, position, samples)
    assert decode_frame(encode_frame(frame)) == frame


@given(st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(ClientError):
        decode_frame(data)


@given(st.binary(min_size=1, max_size=32))
def test_a_frame_cut_within_its_header_is_a_typed_error(samples: bytes) -> None:
    frame = encode_frame(AudioFrame(0, 0, samples[: len(samples) // 2 * 2]))
    for end in range(HEADER.size):
        with pytest.raises(ClientError, match="header"):
            decode_frame(frame[:end])


@given(st.text(max_size=64))
def test_any_text_is_a_message_or_a_typed_error(text: str) -> None:
    for parse in (parse_client, parse_server):
        with pytest.raises(ClientError):
            parse(text)


def test_an_error_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(ClientError) as refused:
        parse_client('{"type": "start", "tracks": [], "secret": "canary"}')
    assert "canary" not in str(refused.value)
