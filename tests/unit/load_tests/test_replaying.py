"""The engine that replays: what a model said, from a segment's begin on, whatever it is sent."""

from __future__ import annotations

import numpy as np
from load_tests.replaying_worker import ReplayingEngine

STEP_FRAMES, EMISSIONS = 4, 2


def test_a_segment_replays_a_recording_and_the_next_one_another() -> None:
    first, second = (
        np.arange(count * 3, dtype=np.float32).reshape(count, 3) + base for count, base in ((8, 0), (6, 100))
    )
    engine = ReplayingEngine([first, second], STEP_FRAMES, EMISSIONS, slots=2)
    slots = np.array([engine.allocate(), engine.allocate()])
    engine.reset(slots.tolist())
    features = np.zeros((2, 2 * STEP_FRAMES, 80), np.float32)
    one, other = engine.run(slots, features)
    np.testing.assert_array_equal(one, first[:4])
    np.testing.assert_array_equal(other, second[:4])
    alone = engine.run(slots[1:], features[1:])
    np.testing.assert_array_equal(alone[0], np.concatenate([second[4:], first[:2]]))  # it goes on from the first
    engine.reset([int(slots[1])])
    np.testing.assert_array_equal(engine.run(slots, features), [first[4:8], first[:4]])
