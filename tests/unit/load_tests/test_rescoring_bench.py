"""The decoder's benchmarks: the archive comes back as it went, and a weight is chosen by what it mends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from load_tests.bench_rescoring import WEIGHTS, Fixed, Read, chosen_weight
from load_tests.emissions import Clip, read_clips, write_clips

from stenoflow_decoder.search import Hypothesis


def test_an_archive_comes_back_as_it_went(tmp_path: Path) -> None:
    frames = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 7)).astype(np.float32)
    write_clips(tmp_path / "new" / "two.npz", [Clip("a", frames, "he said so"), Clip("b", frames[:3], "")])
    first, second = read_clips(tmp_path / "new" / "two.npz")
    assert (first.name, first.reference, second.name, second.reference) == ("a", "he said so", "b", "")
    np.testing.assert_allclose(first.frames, frames, rtol=1e-3)
    assert second.frames.shape == (3, 5)


def read(right: str, wrong: str, gap: float, liked: float) -> Read:
    """The wrong reading leads by a gap; the scorer likes the right one by so much."""
    readings = (Hypothesis(wrong, 0.0), Hypothesis(right, -gap))
    return Read(Clip("one", np.zeros((1, 5), np.float32), right), readings, Fixed({wrong: 0.0, right: liked}))


def test_the_least_weight_with_the_fewest_errors_is_chosen() -> None:
    mended, spoiled = read("a b", "a c", gap=1.0, liked=6.0), read("d", "e", gap=-2.0, liked=-3.0)
    assert mended.text(0.0) == "a c" and mended.text(0.2) == "a b"
    assert chosen_weight([mended, spoiled]) == 0.2  # 0.1 mends nothing yet, 0.8 would spoil the second
    assert chosen_weight([spoiled]) == WEIGHTS[0]
    assert mended.best() == "a b"
