"""Windows over models of whole utterances: what is kept is what the model says, whatever the chunks and the company."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import transformers
from prometheus_client import CollectorRegistry
from tests.unit.acoustic import checkpoints
from tests.unit.acoustic.calls import Call, emissions, key, run_alone, start
from tests.unit.acoustic.checkpoints import FAMILIES, Whole, sound

from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.card import asked
from stenoflow.bundle.loading import CARD, Bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime.in_process import Sound, transcribe
from stenoflow_acoustic.adding.add import add_bundle
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.onnx_windows import Signature, run_windows
from stenoflow_acoustic.stage import AcousticStage
from stenoflow_acoustic.transformers_windows import TransformersWindows
from stenoflow_acoustic.window_batching import WindowBatcher
from stenoflow_acoustic.windows import WindowGeometry
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.stage import DecoderStage
from stenoflow_features.detector import Detector
from stenoflow_features.stage import FeaturesStage

CLIP = Path(__file__).resolve().parents[2] / "clips" / "ls-1580-141083-0002.opus"


@pytest.fixture(scope="module", params=FAMILIES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.save(tmp_path_factory.mktemp("checkpoints") / request.param, request.param)


@pytest.fixture(scope="module")
def bundle(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return add_bundle(str(source), tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> TransformersWindows:
    return TransformersWindows.of(bundle, "cpu")


def with_preset(bundle: Bundle, **milliseconds: int) -> Bundle:
    """The same bundle, whose only preset is another one."""
    fields = json.loads((bundle.folder / CARD).read_text())
    fields["acoustic"]["presets"] = {"balanced": milliseconds}
    (bundle.folder / CARD).write_text(json.dumps(fields))
    return load_bundle(bundle.folder)


def pcm(samples: Any) -> Any:
    """As 10 ms frames of int16, whole ones."""
    whole = np.rint(samples * 32_768).astype(np.int16)
    return whole[: len(whole) // 160 * 160].reshape(-1, 160)


def kept(model: TransformersWindows, geometry: WindowGeometry, frames: Any, chunk: int) -> Any:
    """What a segment's windows say, float32 [U, V], its sound coming in chunks."""
    segment = geometry.segment(0)
    pieces = []
    for begin in range(0, len(frames), chunk):
        segment.add(frames[begin : begin + chunk])
        pieces += segment.advance()
    pieces += segment.close()
    batcher = WindowBatcher(model, AcousticMetrics(CollectorRegistry()))
    return np.concatenate(batcher.run([(0, pieces)])[0])


def heard(frames: Any, geometry: WindowGeometry) -> Any:
    """A segment's sound with the quiet that follows it, as the model is to hear it."""
    tail = np.zeros(160 * geometry.overhang, np.float32)
    return np.concatenate([frames.reshape(-1).astype(np.float32) / 32_768, tail])


def test_a_segment_in_one_window_is_what_the_model_says(source: Path, bundle: Bundle, model: Any) -> None:
    geometry = WindowGeometry.of(bundle.card, "accurate")
    frames = pcm(sound(1, 1.9))
    found = kept(model, geometry, frames, chunk=16)
    expected = Whole(source).log_probs(heard(frames, geometry))
    assert len(found) == len(frames) // geometry.emission_frames
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-3)


def test_context_brings_windows_near_to_the_whole(source: Path, bundle: Bundle, model: Any) -> None:
    """Over 6 s at least four in five of the likeliest tokens are those of the whole, and fewer without context."""
    frames = pcm(sound(2, 6.0))
    accurate = WindowGeometry.of(bundle.card, "accurate")
    whole = Whole(source).log_probs(heard(frames, accurate))

    def agreement(geometry: WindowGeometry) -> float:
        found = kept(model, geometry, frames, chunk=16)
        return float((found.argmax(-1) == whole[: len(found)].argmax(-1)).mean())

    bare = WindowGeometry(**{**{name: getattr(accurate, name) for name in accurate.__slots__}, "left": 0, "step": 32})
    assert agreement(accurate) >= 0.8
    assert agreement(accurate) > agreement(bare)


@pytest.mark.parametrize("preset", ["fast", "balanced", "accurate"])
def test_chunks_change_no_window(bundle: Bundle, model: Any, preset: str) -> None:
    geometry = WindowGeometry.of(bundle.card, preset)
    frames = pcm(sound(3, 2.97))
    expected = kept(model, geometry, frames, chunk=len(frames))
    for chunk in (1, 7, 64):
        np.testing.assert_allclose(kept(model, geometry, frames, chunk), expected, atol=1e-3)


def test_frames_that_are_no_numbers_are_heard_as_quiet_and_counted(bundle: Bundle) -> None:
    geometry = dataclasses.replace(WindowGeometry.of(bundle.card, "fast"), waveform=False)
    poisoned, quiet = np.ones((2, 400, geometry.bins), np.float16)
    for frame, value in [(0, np.nan), (200, np.inf), (399, -np.inf)]:
        poisoned[frame, 3] = value
        quiet[frame] = geometry.quiet
    made = []
    for frames in (poisoned, quiet):
        segment = geometry.segment(0)
        segment.add(frames)
        made.append(([piece.features for piece in segment.advance() + segment.close()], segment.replaced))
    (heard_poisoned, replaced), (heard_quiet, none) = made
    assert (replaced, none) == (3, 0)
    assert all(np.array_equal(one, other) for one, other in zip(heard_poisoned, heard_quiet, strict=True))


def call(number: int, seconds: float, segments: Sequence[tuple[int, int]]) -> Call:
    frames = pcm(sound(number, seconds))
    return Call(len(frames), list(segments), frames, track=key(number))


def test_company_changes_no_emission(bundle: Bundle, model: Any) -> None:
    geometry = WindowGeometry.of(bundle.card, "fast")
    stage = AcousticStage.windowed(geometry, model, AcousticMetrics(CollectorRegistry()))
    calls = [call(0, 3.0, [(16, 208)]), call(1, 3.0, [(0, 128), (144, 272)]), call(2, 3.0, [(16, 208)])]
    alone = [emissions(run_alone(stage, each, [16])) for each in calls]
    runs = [start(stage, each.track) for each in calls]
    out: list[list[Any]] = [[] for _ in calls]
    for news in zip(*(each.steps([16]) for each in calls), strict=True):
        batch = [(run.state, run.take(entries)) for run, entries in zip(runs, news, strict=True)]
        for number, step in enumerate(stage.step(batch)):
            out[number] += runs[number].emit(step)
    for expected, log in zip(alone, out, strict=True):
        found = emissions(log)
        assert expected.keys() == found.keys() and len(found) > 10
        for at, frame in expected.items():
            np.testing.assert_allclose(
                np.frombuffer(found[at], np.float16).astype(np.float32),
                np.frombuffer(frame, np.float16).astype(np.float32),
                rtol=2e-3,
                atol=1e-2,
            )


class Heard:
    """An acoustic stage that notes the sound of each segment which it is given."""

    def __init__(self, stage: AcousticStage) -> None:
        self._stage = stage
        self.segments: list[Any] = []
        self._end = -1

    def open(self, track: Any, at: Any) -> Any:
        return self._stage.open(track, at)

    def step(self, batch: Any) -> Any:
        for _, entries in batch:
            for entry in entries:
                for span in entry.spans:
                    frames = np.frombuffer(entry.frames(span), "<i2").reshape(-1, 160)
                    if span.begin == self._end:
                        self.segments[-1] = np.concatenate([self.segments[-1], frames])
                    else:
                        self.segments.append(frames)
                    self._end = span.end
        return self._stage.step(batch)

    def close(self, state: Any) -> None:
        self._stage.close(state)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_pipeline_gives_the_models_own_text(family: str, tmp_path: Path) -> None:
    # So sure that the likeliest path outweighs the sum of all others, which is what the beam goes by.
    source = checkpoints.save(tmp_path / family, family, sure=1000.0)
    bundle = with_preset(add_bundle(str(source), tmp_path / "models"), left_ms=1280, step_ms=9600, right_ms=160)
    geometry = WindowGeometry.of(bundle.card)
    acoustic = Heard(
        AcousticStage.windowed(geometry, TransformersWindows.of(bundle, "cpu"), AcousticMetrics(CollectorRegistry()))
    )
    stages: dict[Stages, Any] = {
        Stages.FEATURES: FeaturesStage(Detector(), features=asked(bundle.card.features)),
        Stages.ACOUSTIC: acoustic,
        Stages.DECODER: DecoderStage(DecodingModel.from_bundle(bundle)),
    }
    samples, rate = soundfile.read(CLIP, dtype="int16", frames=48_000 * 6)
    finals = [each for each in transcribe(stages, [Sound("a", rate, samples.tobytes())]) if each["type"] == "final"]
    whole = Whole(source)
    expected = [whole.text(heard(each, geometry), len(each) // geometry.emission_frames) for each in acoustic.segments]
    said = [each["text"] for each in finals if each["text"]]
    assert said == [text for text in expected if text] and len(" ".join(said)) > 10
    for final in finals:
        assert [word["word"] for word in final["words"]] == final["text"].split()
        times = [time for word in final["words"] for time in (word["begin"], word["end"])]
        assert times == sorted(times) and all(final["begin"] <= time <= final["end"] for time in times)


@pytest.mark.parametrize("family", ["wav2vec2"])
def test_pickled_weights_are_refused_with_what_to_do(tmp_path: Path, family: str) -> None:
    folder = checkpoints.save(tmp_path / family, family)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BundleError, match="pickle") as caught:
        add_bundle(str(folder), tmp_path / "models")
    assert caught.value.code == "weights_unsafe" and not list((tmp_path / "models").glob("*"))


def test_an_unknown_preset_names_those_there_are(tmp_path: Path) -> None:
    bundle = with_preset(
        add_bundle(str(checkpoints.save(tmp_path / "a", "hubert")), tmp_path / "models"),
        left_ms=100,
        step_ms=100,
        right_ms=100,
    )
    with pytest.raises(ConfigError, match="balanced"):
        WindowGeometry.of(bundle.card, "fast")


@pytest.mark.parametrize("name", ["adapter_config.json", "other.safetensors"])
def test_what_the_card_does_not_list_is_not_read_by_the_library_either(source: Path, tmp_path: Path, name: str) -> None:
    bundle = add_bundle(str(source), tmp_path)
    (bundle.folder / name).write_text("{}")
    with pytest.raises(BundleError, match=f"does not list {name}"):
        TransformersWindows.of(load_bundle(bundle.folder), "cpu")


@pytest.mark.parametrize("loudness", [1.0, 1e-3])
def test_sound_is_normalised_as_transformers_does(loudness: float) -> None:
    class Session:
        def run(self, names: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
            self.heard = feeds["sound"]
            return [np.zeros((1, 1, 2), np.float32)]

    session, quiet = Session(), sound(seconds=0.5) * np.float32(loudness)
    run_windows(session, Signature("sound", "samples", None, "said"), quiet.reshape(1, -1, 160), "sound")
    extractor: Any = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    expected = extractor(quiet, sampling_rate=16_000, return_tensors="np").input_values
    np.testing.assert_allclose(session.heard, expected, rtol=1e-3, atol=1e-4)
