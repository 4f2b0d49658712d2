"""An acoustic worker without its model: it replays what the model said of `tests/clips`, whatever it is sent.

What is left to measure is everything else, on emissions as they are: a beam search over noise would cost more.

python -m load_tests.replaying_worker --redis unix:///…
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client import CollectorRegistry

from load_tests.conversations import own_clips
from stenoflow.bundle.card import FbankCard, StatefulCard, asked
from stenoflow.bundle.loading import Bundle, find_bundle, load_bundle
from stenoflow.bus.records import Stages
from stenoflow.runtime import process
from stenoflow.runtime.process import Worker
from stenoflow_acoustic.engine import BATCH_BUCKETS, STEP_BUCKETS, Floats, SlotPool, Slots
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.onnx_engine import OnnxEngine
from stenoflow_acoustic.settings import AcousticSettings
from stenoflow_acoustic.stage import AcousticStage
from stenoflow_features.filterbank import LOOK_BACK, Filterbank, windows

PLACES = 2000


class ReplayingEngine:
    """The port of a model (:class:`stenoflow_acoustic.engine.Engine`) that computes nothing.

    Args:
        recordings: log-probabilities of whole segments, float32 [U, V] each.
        step_frames: feature frames of a step.
        emissions_per_step: how many rows of a recording a step is.
        slots: tracks that it has room for.
    """

    device, precision = "cpu", "replayed"
    batch_buckets, step_buckets = BATCH_BUCKETS, STEP_BUCKETS

    def __init__(self, recordings: Sequence[Floats], step_frames: int, emissions_per_step: int, slots: int) -> None:
        self._said = np.concatenate(recordings)
        self._begins = np.cumsum([0, *map(len, recordings[:-1])])
        self._step_frames, self._emissions = step_frames, emissions_per_step
        self._segments = 0
        self.resize(slots)

    def resize(self, slots: int) -> None:
        """Makes room for so many tracks."""
        self._pool = SlotPool(slots)
        self._at = np.zeros(slots, np.intp)

    def allocate(self) -> int:
        """A slot."""
        return self._pool.allocate()

    def free(self, slot: int) -> None:
        """Gives a slot back."""
        self._pool.free(slot)

    def reset(self, slots: Sequence[int]) -> None:
        """Each segment begins with another recording."""
        for slot in slots:
            self._at[slot] = self._begins[self._segments % len(self._begins)]
            self._segments += 1

    def run(self, slots: Slots, features: Floats) -> Floats:
        """What comes next in each slot's recording; after the last one the first follows."""
        count = features.shape[1] // self._step_frames * self._emissions
        rows = (self._at[slots][:, None] + np.arange(count)) % len(self._said)
        self._at[slots] = rows[:, -1] + 1
        found: Floats = self._said[rows]
        return found

    def warm_up(self) -> None:
        """Nothing gets faster."""


def recordings(bundle: Bundle) -> Iterator[Floats]:
    """What a bundle's model says of each of our clips, as it comes: look-ahead included."""
    card, acoustic = bundle.card, bundle.card.acoustic
    assert isinstance(acoustic, StatefulCard) and isinstance(card.features, FbankCard)
    engine, filterbank = OnnxEngine(bundle, device="cpu", slots=1), Filterbank(card.features)
    slot, step = engine.allocate(), acoustic.step_frames
    for clip in own_clips():
        engine.reset([slot])
        samples = np.concatenate([np.zeros(LOOK_BACK), np.frombuffer(clip.pcm, "<i2")]).astype(np.float32)
        frames = filterbank(windows(samples))
        whole = range(0, len(frames) // step * step, step)
        yield np.concatenate([engine.run(np.array([slot]), frames[None, at : at + step])[0] for at in whole])


def compose(settings: AcousticSettings, registry: CollectorRegistry) -> Worker:
    """The stage with the replaying engine."""
    bundle = load_bundle(find_bundle(settings.bundle))
    card, acoustic = bundle.card, bundle.card.acoustic
    assert isinstance(acoustic, StatefulCard), "windowed bundles have no states"
    engine = ReplayingEngine(list(recordings(bundle)), acoustic.step_frames, acoustic.emissions_per_step, PLACES)
    stage = AcousticStage.stateful(card, engine, AcousticMetrics(registry))
    details = {"look_ahead_ms": str(acoustic.wait_ms), "features": asked(card.features)}
    return Worker(stage, PLACES, str(bundle), "emissions are replayed", details, claims=card.name)


def main() -> int:
    """Runs one worker."""
    return process.main(Stages.ACOUSTIC, AcousticSettings, compose, "An acoustic worker that replays emissions.")


if __name__ == "__main__":
    raise SystemExit(main())
