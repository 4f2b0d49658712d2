"""The bundle that ships, on real speech: bit for bit the same whatever the chunking and the company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.acoustic.calls import HOP, Call, emissions, key, make_stage, run_alone, start

from stenoflow.base.errors import BundleError
from stenoflow.bundle.loading import find_bundle, load_bundle
from stenoflow.bus.entry import Entry, EntryId
from stenoflow_acoustic.stage import AcousticStage
from stenoflow_features.filterbank import LOOK_BACK, Filterbank, windows

CLIPS = Path(__file__).resolve().parents[2] / "clips"


@pytest.fixture(scope="module")
def stage() -> AcousticStage:
    try:
        folder = find_bundle("en-small")
    except BundleError as error:
        pytest.skip(str(error))
    return make_stage(load_bundle(folder), slots=48)


@pytest.fixture(scope="module")
def speech() -> list[np.ndarray]:
    """Log-mel of all clips, float16 [T, F] each, 3 s at most."""
    soundfile = pytest.importorskip("soundfile", reason="real speech needs soundfile")
    found = []
    for path in sorted(CLIPS.glob("*.opus")):
        samples, _ = soundfile.read(path, dtype="int16", frames=48_000)
        padded = np.concatenate([np.zeros(LOOK_BACK, np.float32), samples.astype(np.float32)])
        found.append(Filterbank()(windows(padded)).astype(np.float16))
    assert len(found) > 16
    return found


def call(speech: list[np.ndarray], number: int) -> Call:
    """Silence, a clip cut in two segments that touch, silence."""
    heard = speech[number]
    frames = len(heard) + 20
    numbers = np.zeros((frames, heard.shape[1]), np.float16)
    numbers[10 : 10 + len(heard)] = heard
    cut = 10 + len(heard) * 2 // 3
    return Call(frames, [(10, cut), (cut, 10 + len(heard))], numbers, [], key(number))


def test_chunking_changes_no_bit(stage: AcousticStage, speech: list[np.ndarray]) -> None:
    own = call(speech, 0)
    whole = emissions(run_alone(stage, own, [own.frames]))
    assert min(whole) == 10 * HOP and len(whole) >= (own.frames - 20) // 2 - 2
    for chunks in ([1], [3, 5], [16], [8, 64]):
        assert emissions(run_alone(stage, own, chunks)) == whole
    rows = np.frombuffer(b"".join(whole.values()), np.float16).reshape(len(whole), -1).astype(np.float32)
    assert np.isfinite(rows).all()
    assert np.allclose(np.exp(rows).sum(axis=1), 1.0, atol=0.01)


def test_company_in_the_batch_changes_no_bit(stage: AcousticStage, speech: list[np.ndarray]) -> None:
    chunks = [[16], [8], [32], [64], [5, 11]]
    calls = [call(speech, number) for number in range(len(speech))]
    alone = [emissions(run_alone(stage, own, [16])) for own in calls]
    runs = [start(stage, own.track) for own in calls]
    news = [list(own.log(chunks[number % len(chunks)])) for number, own in enumerate(calls)]
    logs: list[list[tuple[EntryId, Entry]]] = [[] for _ in calls]
    while any(news):
        batch = [(number, runs[number].take([own.pop(0)])) for number, own in enumerate(news) if own]
        steps = stage.step([(runs[number].state, fresh) for number, fresh in batch])
        for (number, _), step in zip(batch, steps, strict=True):
            logs[number] += runs[number].emit(step)
    for run in runs:
        stage.close(run.state)
    assert [emissions(log) for log in logs] == alone
