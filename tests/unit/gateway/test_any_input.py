"""The gateway's machine against an attacker and a tired person: whatever comes, it goes on or says a typed error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from docs.pages.error_sources import find
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.test_session import appends, sent
from tests.unit.gateway.test_states import IN_STATE, Rig
from tests.unit.gateway.world import RATE

from stenoflow.protocol.frames import HEADER, AudioFrame, encode_frame
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.states import State

EXAMPLES = Path(__file__).resolve().parents[2] / "wire" / "examples"
CLIENT = [
    json.dumps(example)
    for name in ("start", "configure", "finalize", "pause", "resume", "stop")
    for stored in [json.loads((EXAMPLES / f"{name}.json").read_text())]
    for example in (stored if isinstance(stored, list) else [stored])
]
CODES = {each.code for each in find()}

frames = st.builds(
    lambda track, position, samples: encode_frame(AudioFrame(track, position, bytes(2 * samples))),
    st.integers(0, 3),
    st.one_of(st.integers(0, 20 * RATE), st.integers(0, 2**64 - 1)),
    st.integers(0, 3 * RATE),
)
cut_frames = st.builds(lambda frame, end: frame[:end], frames, st.integers(0, HEADER.size + 3))
texts = st.sampled_from(CLIENT)
cut_texts = st.builds(lambda text, at: text[: at % (len(text) + 1)], texts, st.integers(0, 10_000))
changed_texts = st.builds(
    lambda text, at, to: text[: at % len(text)] + to + text[at % len(text) + 1 :],
    texts,
    st.integers(0, 10_000),
    st.characters(codec="utf-8"),
)
events = st.lists(
    st.one_of(
        st.builds(on.Binary, st.one_of(frames, cut_frames, st.binary(max_size=40))),
        st.builds(on.Text, st.one_of(texts, cut_texts, changed_texts, st.text(max_size=40))),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("state", [State.GREETING, State.STREAMING, State.STOPPING, State.REOPENING])
@given(come=events)
def test_whatever_comes_is_taken_or_is_a_typed_error_that_ends_it(state: State, come: list[on.Event]) -> None:
    make: Callable[[], Rig] = IN_STATE[state]
    rig = make()
    for event in come:
        was_closed = rig.machine.state is State.CLOSED
        effects = rig.tell(event)
        errors = [message for message in sent(effects) if message.type == "error"]
        assert all(error.code in CODES and error.message for error in errors)
        if errors:
            assert rig.machine.state is State.CLOSED
        if was_closed:
            assert effects == [], "what comes after the error is not looked at"
        for effect in appends(effects):
            assert effect.entry.end - effect.entry.begin <= RATE * 640 // 1000
