"""The engine: states stay in their slots, batches are filled up unseen, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.unit.acoustic.models import BINS, STEP_FRAMES, SYMBOLS, card, delaying, make_bundle, write_card

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.loading import Bundle, load_bundle
from stenoflow_acoustic.capacity import MAX_PLACES, ROWS, measure, ready_engine
from stenoflow_acoustic.engine import BATCH_BUCKETS, STEP_BUCKETS
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.settings import AcousticSettings


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_bundle(tmp_path_factory.mktemp("tiny")))


def features(rows: int, steps: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-8, 9, (rows, steps * STEP_FRAMES, BINS))
    return drawn.astype(np.float32)


@pytest.mark.parametrize("rows", range(1, 33))
def test_a_batch_of_any_size_is_its_rows_alone(bundle: Bundle, rows: int) -> None:
    engine = OnnxEngine(bundle, slots=32)
    slots = np.random.default_rng(rows).permutation(32)[:rows]
    engine.reset(range(32))
    together = [engine.run(slots, features(rows, steps, steps)) for steps in (4, 1)]
    engine.reset(range(32))
    for row in range(rows):
        for steps, batch in zip((4, 1), together, strict=True):
            alone = engine.run(slots[row : row + 1], features(rows, steps, steps)[row : row + 1])
            assert np.array_equal(alone[0], batch[row])


def test_a_run_changes_only_its_own_slots_and_never_the_last_row(bundle: Bundle) -> None:
    engine = OnnxEngine(bundle, slots=4)
    engine.reset(range(4))
    before = {name: state.copy() for name, state in engine._states.items()}
    engine.run(np.array([2, 0, 3]), features(3, 2))
    for name, state in engine._states.items():
        assert np.array_equal(state[[1, 4]], before[name][[1, 4]])
    assert not np.array_equal(engine._states["sum"][2], before["sum"][2])


def test_reset_after_a_run_is_a_fresh_start(bundle: Bundle) -> None:
    engine = OnnxEngine(bundle, slots=2)
    engine.reset([0, 1])
    first = engine.run(np.array([0]), features(1, 8))
    engine.reset([0])
    assert np.array_equal(engine.run(np.array([0]), features(1, 8)), first)


def test_warming_up_meets_every_bucket_and_leaves_the_states(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = OnnxEngine(bundle, slots=2)
    engine.reset([0])
    engine.run(np.array([0]), features(1, 1))
    before = engine._states["sum"].copy()
    met = set()
    session = engine._session

    class Watching:
        def run(self, outputs: object, feeds: dict[str, np.ndarray]) -> object:
            met.add((len(feeds["features"]), feeds["features"].shape[1] // STEP_FRAMES))
            return session.run(outputs, feeds)

    monkeypatch.setattr(engine, "_session", Watching())
    engine.warm_up()
    assert met == {(rows, steps) for rows in BATCH_BUCKETS for steps in STEP_BUCKETS}
    assert np.array_equal(engine._states["sum"], before)


def test_slots_are_given_once_and_back_once(bundle: Bundle) -> None:
    engine = OnnxEngine(bundle, slots=3)
    assert sorted(engine.allocate() for _ in range(3)) == [0, 1, 2]
    engine.free(1)
    assert engine.allocate() == 1
    engine.free(1)
    with pytest.raises(AssertionError, match="twice"):
        engine.free(1)
    with pytest.raises(AssertionError, match="tracks are open"):
        engine.resize(9)


def test_a_device_that_is_asked_for_and_missing_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="STENOFLOW_ACOUSTIC_DEVICE=cpu") as caught:
        OnnxEngine(bundle, device="cuda")
    assert caught.value.code == "device_missing"
    assert OnnxEngine(bundle, device="auto").device == "cpu"


def test_a_provider_that_does_not_start_is_no_silent_cpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class OnlyCpu:
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **options: OnlyCpu())
    with pytest.raises(ConfigError, match="the GPU cannot be used"):
        OnnxEngine(bundle, device="cuda")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no protobuf at all")
    write_card(tmp_path, card(tmp_path))
    with pytest.raises(BundleError, match=r"model\.onnx is no model"):
        OnnxEngine(load_bundle(tmp_path))


def test_a_model_with_other_states_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    onnx.save(delaying(20), tmp_path / "model.onnx")
    write_card(tmp_path, card(tmp_path))
    with pytest.raises(BundleError, match="does not fit its card") as caught:
        OnnxEngine(load_bundle(tmp_path))
    assert caught.value.code == "bundle_layout" and "state_line" in caught.value.message


@pytest.mark.parametrize(
    ("part", "field", "value", "names"),
    [
        ("tokens", "symbols", ["|", "a", "b", "c", "d", ""], f"{SYMBOLS} symbols, the card 6"),
        ("features", "bins", 7, "bins is 7"),
    ],
)
def test_a_card_with_other_measures_than_its_model_is_refused(
    tmp_path: Path, part: str, field: str, value: object, names: str
) -> None:
    make_bundle(tmp_path)
    fields = card(tmp_path)
    fields[part][field] = value
    fields["features"]["flush_frame"] = [0.0] * fields["features"]["bins"]
    write_card(tmp_path, fields)
    with pytest.raises(BundleError, match=names):
        OnnxEngine(load_bundle(tmp_path))


class Ticking:
    """Every look at the clock is ``step_s`` after the one before."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += self._step_s
        return self._now

    def wall_ms(self) -> int:
        return 0


@pytest.mark.parametrize(("step_s", "tracks"), [(1 / 64, 81), (5 / 32, 8), (8.0, 1), (0.0, MAX_PLACES)])
def test_capacity_leaves_half_of_the_time(bundle: Bundle, step_s: float, tracks: int) -> None:
    engine = OnnxEngine(bundle, slots=ROWS)
    clock: Clock = Ticking(step_s)
    assert measure(engine, bundle.card, clock).tracks == tracks
    engine.resize(2)  # its slots are free again


def test_a_ready_engine_has_room_and_says_what_it_is_in_one_line(bundle: Bundle) -> None:
    engine, capacity, summary = ready_engine(bundle, "cpu", None, Ticking(1 / 64))
    assert capacity.tracks == 81 and [engine.allocate() for _ in range(81)][-1] == 80
    assert summary == f"tiny@{bundle.hash} on cpu, float32: 160 ms of 16 tracks in 15.6 ms, so it carries 81"
    engine, _, _ = ready_engine(bundle, "cpu", 3, Ticking(1 / 64))
    assert [engine.allocate() for _ in range(3)] == [0, 1, 2]


def test_settings_come_from_the_environment_and_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOFLOW_ACOUSTIC_BUNDLE", "/models/mine")
    monkeypatch.setenv("STENOFLOW_ACOUSTIC_PLACES", "12")
    settings = AcousticSettings()
    assert (settings.bundle, settings.device, settings.places) == ("/models/mine", "auto", 12)
    with pytest.raises(ValueError, match="frozen"):
        settings.bundle = "other"  # type: ignore[misc]
