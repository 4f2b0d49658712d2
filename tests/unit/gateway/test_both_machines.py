"""The gateway's machine against the client's, over a link and a server that fail at random points."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gateway.world import UTTERANCE, World, said


def all_arrived(world: World) -> None:
    """Every sample was heard exactly once, in order, whatever happened on the way."""
    assert world.error is None, str(world.error)
    for number in range(len(world.pushed)):
        finals = [final for final in world.client.finals if final.track == number]
        assert [(final.begin, final.end) for final in finals] == [
            (begin, min(begin + UTTERANCE, world.samples)) for begin in range(0, world.samples, UTTERANCE)
        ]
        for final in finals:
            assert final.text == said(final.begin, final.end), "other samples were heard than were sent"


def test_a_call_without_faults_ends() -> None:
    world = World(1, tracks=2)
    world.run()
    all_arrived(world)
    assert world.client.resumes == 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), faults=st.sampled_from((0.005, 0.02, 0.05)), tracks=st.integers(1, 3))
def test_all_samples_arrive_exactly_once_over_a_link_and_a_server_that_fail(
    seed: int, faults: float, tracks: int
) -> None:
    world = World(seed, tracks=tracks, faults=faults)
    world.run()
    all_arrived(world)
