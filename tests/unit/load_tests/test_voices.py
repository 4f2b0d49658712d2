"""What a call sounds like: the same however it is cut into chunks, and at the caller's own rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from load_tests.generator import Call, Outcome, outcome_of
from load_tests.scenario import Kind
from load_tests.speakers import CHUNK_MS, Heard
from load_tests.voices import LineVoice, Placed, kind_of, voices

TELEPHONE = Kind(name="telephone", share=0.25, sample_rate=8000, telephone=True)
BROWSER = Kind(name="browser", share=0.75, sample_rate=48_000)


def a_voice() -> LineVoice:
    chance = np.random.default_rng(1)
    noise = chance.integers(-20, 20, 700).astype(np.int16)
    clips = tuple(Placed(begin, chance.integers(-32768, 32767, 500).astype(np.int16)) for begin in (100, 900, 1500))
    return LineVoice(8000, 1800, clips, noise, 300, "")


@given(st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_any_chunking_gives_the_same_sound(sizes: list[int]) -> None:
    voice = a_voice()
    whole, at, pieces = voice.spoken(0, voice.length), 0, []
    for size in sizes:
        pieces.append(voice.spoken(at, at + size))
        at += size
    pieces.append(voice.spoken(at, voice.length))
    assert b"".join(pieces) == whole
    assert len(whole) == 2 * voice.length


@pytest.mark.parametrize("kind", [TELEPHONE, BROWSER], ids=lambda kind: kind.name)
def test_sides_take_turns_in_whole_chunks_and_their_words_are_known(kind: Kind) -> None:
    first, second = voices(kind, 3, 20)
    assert first.text
    assert second.text
    assert first.length == second.length == int(20_000 / CHUNK_MS) * kind.sample_rate * CHUNK_MS // 1000
    assert first.length / kind.sample_rate == pytest.approx(20, abs=CHUNK_MS / 1000)
    for one, other in ((first, second), (second, first)):
        for clip in one.clips:
            assert all(
                clip.begin + len(clip.samples) <= each.begin or each.begin + len(each.samples) <= clip.begin
                for each in other.clips
            )


def test_no_two_calls_have_a_sample_in_common_beyond_chance() -> None:
    sounds = [np.frombuffer(voices(TELEPHONE, seed, 10)[0].spoken(0, 4000), "<i2") for seed in range(4)]
    for number, sound in enumerate(sounds):
        assert all(np.mean(sound == other) < 0.2 for other in sounds[:number])


@pytest.mark.parametrize("count", [1, 4, 7, 40])
def test_kinds_have_their_shares_at_any_count_of_calls(count: int) -> None:
    chosen = [kind_of((TELEPHONE, BROWSER), number).name for number in range(count)]
    assert abs(chosen.count("telephone") - count / 4) < 1


def test_what_came_of_a_call_passes_through_a_line() -> None:
    import msgspec

    asked = Call(7, 7, "telephone", 8000, True, "ws://nowhere", 0.0, 10.0)
    made = outcome_of(asked, asked.voices(), Heard(refused="at_capacity", late=[0.001], lag=[(1.0, 0.5)]))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Outcome) == made
    assert (made.number, made.refused, made.untiled) == (7, "at_capacity", "")
