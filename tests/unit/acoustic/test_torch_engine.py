"""The torch engine: what ONNX Runtime says, from states that stay on the device and know nothing of each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from prometheus_client import CollectorRegistry
from tests.unit.acoustic.calls import emissions, run_alone
from tests.unit.acoustic.models import card, make_bundle, write_card
from tests.unit.acoustic.test_real_bundle import call, speech
from tests.unit.trainer import small

from stenoflow.base.clock import SystemClock
from stenoflow.base.errors import BundleError, ConfigError
from stenoflow.bundle.loading import Bundle, find_bundle, load_bundle
from stenoflow_acoustic.batching import Batcher
from stenoflow_acoustic.capacity import ready_engine
from stenoflow_acoustic.engine import TorchOptions
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.segment import Piece
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_acoustic.stage import AcousticStage
from stenoflow_acoustic.torch_engine import TorchEngine
from stenoflow_acoustic.torch_graph import StepGraph
from stenoflow_trainer.export import build_graph, write_acoustic
from stenoflow_trainer.model import Merged

__all__ = ["speech"]  # a fixture

OPTIONS = TorchOptions(largest_batch=8)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch sees")),
]


def make(folder: Path, merged: Merged, *, int8: bool) -> Bundle:
    """A bundle of a student with random weights."""
    make_bundle(folder)
    write_acoustic(merged, folder, int8=int8)
    bins, symbols = 80, 29
    fields = card(folder, look_ahead_ms=160)
    fields["features"] |= {"bins": bins, "flush_frame": [5.0] * bins}
    fields["acoustic"] |= {"step_frames": 4 * merged.chunk, "emissions_per_step": 2 * merged.chunk}
    fields["tokens"] = {"symbols": ["|", *(f"t{n}" for n in range(symbols - 2)), ""], "blank": 28, "separator": 0}
    return load_bundle(write_card(folder, fields))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make(tmp_path_factory.mktemp("memory"), Merged(small.student()), int8=False)


@pytest.fixture(scope="module", params=DEVICES)
def engine(bundle: Bundle, request: pytest.FixtureRequest) -> TorchEngine:
    options = TorchOptions("float32", largest_batch=8)
    made = TorchEngine(bundle, device=request.param, slots=6, options=options)
    made.warm_up()
    return made


def alone(engine: TorchEngine, features: np.ndarray) -> np.ndarray:
    """What a track says that begins now and is alone; [U, V] of [N, 80]."""
    slot = engine.allocate()
    said = engine.run(np.array([slot]), features[None])[0]
    engine.free(slot)
    return said


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [small.MEMORY, small.CONFORMER], ids=["memory", "conformer"])
@pytest.mark.parametrize("int8", [False, True])
def test_it_says_what_onnx_runtime_says(tmp_path: Path, shape: object, int8: bool, device: str) -> None:
    """Float graphs within rounding; int8 ones as near as they are to the weights that they were made from."""
    merged = Merged(small.student(shape), 4 if shape is small.CONFORMER else 1)  # type: ignore[arg-type]
    bundle = make(tmp_path, merged, int8=int8)
    expected, found = OnnxEngine(bundle, slots=3), TorchEngine(bundle, device=device, slots=3, options=OPTIONS)  # type: ignore[arg-type]
    slots = np.array([expected.allocate() for _ in range(3)])
    expected.reset(slots.tolist())
    assert [found.allocate() for _ in range(3)] == slots.tolist()
    features = small.log_mel(3, 8 * merged.chunk)
    for heard in np.split(features, 2, axis=1):
        right, said = expected.run(slots, heard), found.run(slots, heard)
        assert said.shape == right.shape
        if int8:
            assert np.abs(np.exp(said) - np.exp(right)).max() < 0.05
        else:
            assert np.abs(said - right).max() < 1e-3


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_interleaving_gives_what_each_track_gives_alone(engine: TorchEngine, data: st.DataObject) -> None:
    """Tracks come and go, in any company and in any pieces; slots are used again."""
    sounds = small.log_mel(9, 8, seed=3)
    expected = [alone(engine, sound) for sound in sounds]
    waiting, open_, done = list(range(9)), dict[int, int](), dict.fromkeys(range(9), 0)
    said: dict[int, list[np.ndarray]] = {number: [] for number in range(9)}
    try:
        while waiting or open_:
            while waiting and len(open_) < 6 and (not open_ or data.draw(st.booleans())):
                number = waiting.pop()
                open_[number] = engine.allocate()
            steps = data.draw(st.sampled_from([1, 2, 4]))
            able = [number for number in open_ if done[number] + steps <= 8]
            if not able:
                continue
            chosen = data.draw(st.lists(st.sampled_from(able), min_size=1, unique=True))
            heard = np.stack([sounds[n, 4 * done[n] : 4 * (done[n] + steps)] for n in chosen])
            for number, rows in zip(chosen, engine.run(np.array([open_[n] for n in chosen]), heard), strict=True):
                said[number].append(rows)
                done[number] += steps
                if done[number] == 8:
                    engine.free(open_.pop(number))
    finally:
        for slot in open_.values():
            engine.free(slot)
    for number, rows in enumerate(expected):
        assert np.abs(np.concatenate(said[number]) - rows).max() < 1e-3


def test_a_slot_that_is_used_again_has_no_past(engine: TorchEngine) -> None:
    first, second = small.log_mel(2, 8)
    expected = alone(engine, second)
    alone(engine, 50 * first)
    assert np.array_equal(alone(engine, second), expected)
    slot = np.array([engine.allocate()])
    engine.run(slot, 50 * first[None])
    engine.reset(slot.tolist())
    assert np.array_equal(engine.run(slot, second[None])[0], expected)
    engine.free(int(slot[0]))


def test_a_run_changes_its_own_slots_only_and_never_the_quiet_row(engine: TorchEngine) -> None:
    slots = [engine.allocate() for _ in range(4)]
    engine.run(np.array(slots), small.log_mel(4, 2))
    before = {name: state.cpu().clone() for name, state in engine._states.items()}
    engine.run(np.array([slots[2], slots[0], slots[3]]), small.log_mel(3, 4, seed=9))
    for name, state in engine._states.items():
        changed = [row for row in range(7) if not torch.equal(state[row].cpu(), before[name][row])]
        assert changed == sorted([slots[0], slots[2], slots[3]]), name
        assert torch.equal(state[6].cpu(), engine._initial[name].cpu())
    for slot in slots:
        engine.free(slot)


def test_warming_up_meets_every_bucket_and_no_slot_notices(engine: TorchEngine) -> None:
    sound = small.log_mel(1, 8)
    slot = np.array([engine.allocate()])
    said = [engine.run(slot, sound[:, :16])]
    engine.warm_up()
    assert set(engine._runs) == {(rows, steps) for rows in (1, 2, 4, 8) for steps in (1, 2, 4, 8)}
    said.append(engine.run(slot, sound[:, 16:]))
    engine.free(int(slot[0]))
    assert np.abs(np.concatenate(said, axis=1)[0] - alone(engine, sound[0])).max() < 1e-3


@pytest.mark.parametrize("shape", [small.MEMORY, small.CONFORMER], ids=["memory", "conformer"])
def test_a_step_asks_nothing_back_of_the_device(shape: object) -> None:
    """The device `meta` has no values: whoever asks for one fails. So a step can be recorded as a CUDA graph."""
    merged = Merged(small.student(shape), 4 if shape is small.CONFORMER else 1)  # type: ignore[arg-type]
    content = build_graph(merged, int8=True).SerializeToString()
    graph = StepGraph(content, "model.onnx", torch.device("meta"), torch.bfloat16)
    states = {
        f"state_{name}": torch.empty(2, *value.shape[1:], device="meta")
        for name, value in merged.initial_state().items()
    }
    made = graph({"features": torch.empty(2, 32, 80, device="meta"), **states})
    assert made["log_probs"].shape == (2, 16, 29)
    assert all(made[name.replace("state_", "next_")].shape == value.shape for name, value in states.items())


@pytest.mark.parametrize(("precision", "by_chunks"), [("float32", 1e-3), ("bf16", 0.015), ("fp16", 0.01)])
def test_real_speech_stays_near_the_int8_graph_whatever_the_chunks(
    speech: list[np.ndarray], precision: str, by_chunks: float
) -> None:
    """The bundle that ships, on a recording through the stage, in probabilities.

    Measured: 0.036 to 0.042 from the int8 graph at most and 0.0004 on average, which is the rounding of that graph; by
    chunks 0 with float32 and bf16, 0.0013 with fp16.
    """
    shipped = load_bundle(find_bundle("en-small"))
    options = TorchOptions(precision, largest_batch=2)  # type: ignore[arg-type]
    own = call(speech, 0)

    def heard(engine: OnnxEngine | TorchEngine, chunks: list[int]) -> np.ndarray:
        stage = AcousticStage.stateful(shipped.card, engine, AcousticMetrics(CollectorRegistry()))
        rows = emissions(run_alone(stage, own, chunks))
        return np.exp(np.stack([np.frombuffer(rows[at], np.float16).astype(np.float32) for at in sorted(rows)]))

    engine = TorchEngine(shipped, device="cpu", slots=2, options=options)
    whole, right = heard(engine, [own.frames]), heard(OnnxEngine(shipped, device="cpu", slots=2), [16])
    assert whole.shape == right.shape
    assert np.abs(whole - right).max() < 0.1 and np.abs(whole - right).mean() < 0.001
    assert np.array_equal(whole.argmax(axis=1), right.argmax(axis=1))
    assert np.abs(heard(engine, [8, 16, 64, 5]) - whole).max() < by_chunks


def test_no_room_for_a_batch_says_which_would_fit(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(bundle, device="cpu", slots=4, options=OPTIONS)
    step = TorchEngine._step

    def cramped(self: TorchEngine, run: object) -> torch.Tensor:
        if len(run.features) > 2:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError
        return step(self, run)  # type: ignore[arg-type]

    monkeypatch.setattr(TorchEngine, "_step", cramped)
    with pytest.raises(ConfigError, match=r"batches of 2 would fit: set STENOFLOW_ACOUSTIC_LARGEST_BATCH=2") as caught:
        engine.warm_up()
    assert caught.value.code == "device_memory" and "4 places" in caught.value.message


def test_no_room_for_the_states_says_how_many_would_fit(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(bundle, device="cpu", slots=4, options=OPTIONS)

    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("stenoflow_acoustic.torch_engine._copies", full)
    monkeypatch.setattr(engine, "_free_bytes", lambda: 100 * engine.slot_bytes)
    with pytest.raises(ConfigError, match=r"no room for 500 tracks .* 88 would fit: set STENOFLOW_ACOUSTIC_PLACES=88"):
        engine.resize(500)


def test_a_gpu_that_is_asked_for_and_missing_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="STENOFLOW_ACOUSTIC_DEVICE=cpu") as caught:
        TorchEngine(bundle, device="cuda")
    assert caught.value.code == "device_missing"
    assert TorchEngine(bundle, device="auto", slots=1).precision == "float32"


def test_a_model_with_other_operations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Mod, Round.*STENOFLOW_ACOUSTIC_ENGINE=onnx") as caught:
        TorchEngine(load_bundle(make_bundle(tmp_path)), device="cpu")
    assert caught.value.code == "engine_unsuited"


def test_an_int8_product_that_is_written_in_another_way_is_refused(bundle: Bundle) -> None:
    """Its zero point is not what was added to the activations, so folding it away would change what it says."""
    model = build_graph(Merged(small.student()), int8=True)
    zero = next(node.input[2] for node in model.graph.node if node.op_type == "MatMulInteger")
    (constant,) = (each for each in model.graph.initializer if each.name == zero)
    constant.CopyFrom(helper.make_tensor(zero, TensorProto.UINT8, [], [127]))
    with pytest.raises(ConfigError, match="MatMulInteger"):
        StepGraph(model.SerializeToString(), "model.onnx", torch.device("cpu"), torch.float32)


def test_a_model_with_other_states_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    made = make(tmp_path, Merged(small.student()), int8=False)
    onnx.save(build_graph(Merged(small.student(small.CONFORMER), 4), int8=False), tmp_path / "model.onnx")
    fields = json.loads((tmp_path / "bundle.json").read_text())
    with pytest.raises(BundleError, match="does not fit its card") as caught:
        TorchEngine(load_bundle(write_card(tmp_path, {**fields, "files": card(tmp_path)["files"]})), device="cpu")
    assert caught.value.code == "bundle_layout"
    (tmp_path / "model.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(BundleError, match="sha256 differs"):
        TorchEngine(made, device="cpu")
    with pytest.raises(BundleError, match="is no model"):
        TorchEngine(load_bundle(write_card(tmp_path, {**fields, "files": card(tmp_path)["files"]})), device="cpu")


def test_a_ready_engine_stays_warm_when_it_makes_room(bundle: Bundle) -> None:
    engine, _, summary = ready_engine(bundle, "cpu", 3, SystemClock(), TorchOptions("bf16", largest_batch=2))
    assert isinstance(engine, TorchEngine) and " on cpu, bf16: " in summary
    assert len(engine._runs) == 8 and [engine.allocate() for _ in range(3)] == [0, 1, 2]
    assert engine.run(np.array([2, 1]), small.log_mel(2, 4)).shape == (2, 8, 29)


def test_torch_serves_where_it_is_asked_for_or_the_device_is_a_gpu() -> None:
    assert AcousticSettings().torch_options("stenoflow") is None
    assert AcousticSettings(device="cuda").torch_options("stenoflow") == TorchOptions()
    assert AcousticSettings(device="cuda").torch_options("nemo") is None
    assert AcousticSettings(device="cuda", engine="onnx").torch_options("stenoflow") is None
    asked = AcousticSettings(engine="torch", precision="fp16", largest_batch=64, cuda_graphs=False)
    assert asked.torch_options("stenoflow") == TorchOptions("fp16", 64, graphs=False)
    with pytest.raises(ValueError, match="no power of two"):
        AcousticSettings(largest_batch=48)


def test_tracks_that_a_full_batch_left_out_are_counted(bundle: Bundle) -> None:
    """Saturation: of five tracks with a largest batch of two, three wait for another run, and are heard."""
    engine = TorchEngine(bundle, device="cpu", slots=5, options=TorchOptions(largest_batch=2))
    registry = CollectorRegistry()
    batcher = Batcher(engine, 4, 0, 2, AcousticMetrics(registry))
    sounds = small.log_mel(5, 4)
    work = [(batcher.allocate(), [Piece(sound, True, 0, 8)]) for sound in sounds]
    kept = batcher.run(work)
    assert registry.get_sample_value("stenoflow_acoustic_waited_rows_total") == 3
    for (slot, _), rows in zip(work, kept, strict=True):
        batcher.free(slot)
        assert np.concatenate(rows).shape == (8, 29)
