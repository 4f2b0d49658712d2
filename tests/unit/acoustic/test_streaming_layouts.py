"""Streaming CTC models as sherpa-onnx publishes them: the same audio gives the same tokens as sherpa-onnx itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.acoustic import streaming_layouts
from tests.unit.acoustic.calls import Call, emissions, key, run_alone, start

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import FbankCard, StatefulCard
from stenoflow.bundle.loading import Bundle, load_bundle
from stenoflow_acoustic.adding.add import add_bundle
from stenoflow_acoustic.batching import Batcher
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.segment import Geometry
from stenoflow_acoustic.stage import AcousticStage
from stenoflow_features.filterbank import LOOK_BACK, Filterbank, windows

LAYOUTS = ("zipformer2", "nemo")


@pytest.fixture(scope="module", params=LAYOUTS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return streaming_layouts.make(tmp_path_factory.mktemp("published") / request.param, request.param)


@pytest.fixture(scope="module")
def bundle(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return add_bundle(str(source), tmp_path_factory.mktemp("models"))


def sound(seconds: float, seed: int) -> Any:
    """Float32 from -1 to 1; 15 ms of silence first, for what lies before a call's begin is seen differently."""
    random = np.random.default_rng(seed)
    length = int(seconds * 16_000)
    loud = np.repeat(random.uniform(0.0, 0.3, length // 800 + 1), 800)[:length]
    samples = (loud * random.standard_normal(length)).astype(np.float32)
    samples[:LOOK_BACK] = 0.0
    return samples


def features(bundle: Bundle, samples: Any) -> Any:
    card = bundle.card.features
    assert isinstance(card, FbankCard)
    padded = np.concatenate([np.zeros(LOOK_BACK, np.float32), samples * 32_768])
    return Filterbank(card)(windows(padded))


def ours(bundle: Bundle, samples: Any, chunk: int) -> tuple[Any, Geometry]:
    """Log-probabilities of a segment that comes in chunks, float32 [U, V]."""
    geometry, frames = Geometry.of(bundle.card), features(bundle, samples)
    engine = OnnxEngine(bundle, device="cpu", slots=2)
    slot = engine.allocate()
    batcher = Batcher(
        engine,
        geometry.step_frames,
        geometry.overlap_frames,
        geometry.emissions_per_step,
        AcousticMetrics(CollectorRegistry()),
    )
    segment, said = geometry.segment(0), []
    for begin in range(0, len(frames), chunk):
        segment.add(frames[begin : begin + chunk])
        said += batcher.run([(slot, segment.advance())])[0]
    said += batcher.run([(slot, segment.close())])[0]
    return np.concatenate(said), geometry


def oracle(source: Path, samples: Any) -> tuple[list[str], int]:
    """What sherpa-onnx says, and in how many steps."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="the oracle: pip install 'stenoflow[dev]'")
    make = sherpa_onnx.OnlineRecognizer
    make = make.from_zipformer2_ctc if source.name == "zipformer2" else make.from_nemo_ctc
    recogniser = make(tokens=str(source / "tokens.txt"), model=str(source / "model.onnx"), num_threads=1)
    stream = recogniser.create_stream()
    # Its frames lie 7.5 ms later in the sound than ours.
    stream.accept_waveform(16_000, np.concatenate([np.zeros(120, np.float32), samples]))
    stream.input_finished()
    steps = 0
    while recogniser.is_ready(stream):
        recogniser.decode_stream(stream)
        steps += 1
    return [token.replace(" ", "▁") for token in recogniser.tokens(stream)], steps


@pytest.mark.parametrize("seed", range(3))
def test_the_same_audio_gives_the_tokens_of_sherpa_onnx(source: Path, bundle: Bundle, seed: int) -> None:
    samples = sound(4.0, seed)
    expected, steps = oracle(source, samples)
    found, geometry = ours(bundle, samples, chunk=16)
    best = found[: steps * geometry.emissions_per_step].argmax(-1)
    blank, symbols = bundle.card.tokens.blank, bundle.card.tokens.symbols
    tokens = [symbols[t] for at, t in enumerate(best) if t != blank and (at == 0 or t != best[at - 1])]
    assert tokens == expected and len(set(tokens)) > 1 and len(tokens) > 2 and steps > 20


def test_what_was_added_says_how_it_runs(source: Path, bundle: Bundle) -> None:
    acoustic = bundle.card.acoustic
    assert isinstance(acoustic, StatefulCard) and acoustic.layout == source.name
    heard, step = (13, 8) if source.name == "zipformer2" else (25, 16)
    assert (acoustic.heard_frames, acoustic.step_frames, acoustic.emissions_per_step) == (heard, step, 2)
    assert bundle.card.tokens.symbols[bundle.card.tokens.blank] == "<blk>" and bundle.card.tokens.separator is None


@pytest.mark.parametrize("chunk", [1, 5, 64, 1000])
def test_chunks_change_no_bit(bundle: Bundle, chunk: int) -> None:
    samples = sound(1.5, 7)
    assert np.array_equal(ours(bundle, samples, chunk)[0], ours(bundle, samples, 16)[0])


def test_emissions_reach_to_the_end_of_the_segment(bundle: Bundle) -> None:
    found, geometry = ours(bundle, sound(1.0, 3), chunk=16)
    assert len(found) == 100 // geometry.emission_frames


def test_company_changes_no_emission(bundle: Bundle) -> None:
    def call(number: int, begin: int, end: int) -> Call:
        frames = features(bundle, sound(2.0, number)).astype(np.float16)
        return Call(len(frames), [(begin, end)], frames, track=key(number))

    stage = AcousticStage.stateful(
        bundle.card, OnnxEngine(bundle, device="cpu", slots=4), AcousticMetrics(CollectorRegistry())
    )
    calls = [call(0, 0, 200), call(1, 40, 160), call(2, 8, 72)]
    alone = [emissions(run_alone(stage, each, [16])) for each in calls]
    runs = [start(stage, each.track) for each in calls]
    out: list[list[Any]] = [[] for _ in calls]
    for news in zip(*(each.steps([16]) for each in calls), strict=True):
        batch = [(run.state, run.take(entries)) for run, entries in zip(runs, news, strict=True)]
        for number, step in enumerate(stage.step(batch)):
            out[number] += runs[number].emit(step)
    for expected, log in zip(alone, out, strict=True):
        found = emissions(log)
        assert expected.keys() == found.keys() and found
        for at, frame in expected.items():
            one, other = (np.frombuffer(each, np.float16).astype(np.float32) for each in (found[at], frame))
            np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("layout", "changes", "code"),
    [
        ("zipformer2", {"decode_chunk_len": "seven"}, "model_metadata"),
        ("nemo", {"normalize_type": "per_feature"}, "model_output"),
        ("zipformer2", {"decode_chunk_len": "7"}, "model_output"),
    ],
)
def test_what_cannot_be_streamed_is_refused(tmp_path: Path, layout: str, changes: dict[str, str], code: str) -> None:
    folder = streaming_layouts.make(tmp_path / layout, layout, **changes)
    with pytest.raises(BundleError) as caught:
        add_bundle(str(folder), tmp_path / "models")
    assert caught.value.code == code


def test_a_model_without_symbols_is_refused(tmp_path: Path) -> None:
    folder = streaming_layouts.make(tmp_path / "nemo", "nemo")
    (folder / "tokens.txt").unlink()
    with pytest.raises(BundleError, match=r"tokens\.txt") as caught:
        add_bundle(str(folder), tmp_path / "models")
    assert caught.value.code == "tokens_missing"


def test_several_models_in_a_folder_are_named(tmp_path: Path) -> None:
    folder = streaming_layouts.make(tmp_path / "nemo", "nemo")
    onnx.save(onnx.load(folder / "model.onnx"), folder / "other.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx, other\.onnx"):
        add_bundle(str(folder), tmp_path / "models")
    added = add_bundle(str(folder / "other.onnx"), tmp_path / "models", name="mine")
    assert load_bundle(added.folder).card.name == "mine"
