"""Any bundle as a teacher: one of ours, tuned or not, and whatever `stenoflow bundle add` made of others' models.

Nothing of its inside is known, so it gives no levels. Where its symbols are the student's 29 its emissions teach frame
by frame; where they are others (pieces of words, other letters) only the text does that its own search reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from stenoflow.base.clock import SystemClock
from stenoflow.bundle.card import TokensCard, WindowedCard
from stenoflow.bundle.loading import load_bundle
from stenoflow.text.plain import plain_text
from stenoflow_acoustic.batching import Batcher
from stenoflow_acoustic.capacity import ready_engine, ready_windows
from stenoflow_acoustic.metrics import AcousticMetrics
from stenoflow_acoustic.segment import Geometry
from stenoflow_acoustic.stage import Runner
from stenoflow_acoustic.window_batching import WindowBatcher
from stenoflow_acoustic.windows import WindowGeometry
from stenoflow_decoder.model import DecodingModel
from stenoflow_decoder.search import BeamSearch
from stenoflow_features.filterbank import LOOK_BACK, windows
from stenoflow_features.front_end import FrontEnd
from stenoflow_trainer import data
from stenoflow_trainer.batches import SYMBOLS
from stenoflow_trainer.model import BLANK
from stenoflow_trainer.teacher import Said

Array = npt.NDArray[np.float32]

EMISSION_MS = 20  # of the student
LEAST = -30.0  # natural log of a probability that is none
LONGEST_FRAMES = 100_000  # of a window that hears everything


class BundleTeacher:
    """A bundle that hears whole recordings; a windowed one each as a single window.

    Args:
        folder: of the bundle.

    Raises:
        BundleError: it is damaged.
        ConfigError: what its model needs is not installed.
    """

    gives_levels = False

    def __init__(self, folder: Path) -> None:
        bundle, clock = load_bundle(folder), SystemClock()
        card, metrics = bundle.card, AcousticMetrics(CollectorRegistry())
        self._front_end = FrontEnd(card.features)
        self._geometry: Geometry | WindowGeometry
        self._runner: Runner
        if isinstance(card.acoustic, WindowedCard):
            model, geometry, _, _ = ready_windows(bundle, None, "auto", clock)
            step = LONGEST_FRAMES // geometry.emission_frames * geometry.emission_frames
            self._geometry = replace(geometry, left=0, step=step, right=0)
            self._runner = WindowBatcher(model, metrics)
        else:
            engine, _, _ = ready_engine(bundle, "auto", None, clock)
            self._geometry = Geometry.of(card)
            steps = card.acoustic.step_frames, self._geometry.overlap_frames, card.acoustic.emissions_per_step
            self._runner = Batcher(engine, *steps, metrics)
        self._columns = student_columns(card.tokens)
        self.gives_emissions = self._columns is not None
        self._search = None if self.gives_emissions else DecodingModel.from_bundle(bundle)

    def __call__(self, recordings: Sequence[data.Samples]) -> list[Said]:
        """See :class:`~stenoflow_trainer.teacher.Teacher`."""
        return [self._hear(samples) for samples in recordings]

    def _hear(self, samples: data.Samples) -> Said:
        frames = self._front_end.frames(
            windows(np.concatenate([np.zeros(LOOK_BACK, np.float32), samples * np.float32(32768.0)]))
        )
        segment = self._geometry.segment(0)
        rows = np.frombuffer(frames, self._geometry.frame_type)
        segment.add(rows.reshape(-1, self._geometry.bins))
        slot = self._runner.allocate()
        try:
            emissions = np.concatenate(self._runner.run([(slot, [*segment.advance(), *segment.close()])])[0])
        finally:
            self._runner.free(slot)
        if self._columns is None:
            assert self._search is not None
            return Said(None, None, read(self._search, emissions))
        of_ours = as_student_symbols(emissions, self._columns)
        milliseconds = self._geometry.emission_hop * 1000 // data.SAMPLE_RATE
        return Said(None, in_steps(of_ours, milliseconds, len(samples) // data.STEP))


def read(model: DecodingModel, emissions: Array) -> str:
    """The likeliest text of emissions [U, V] by a bundle's own search, plain."""
    search = BeamSearch(model)
    search.push(emissions)
    return plain_text(search.readings()[0].text)


def student_columns(tokens: TokensCard) -> list[int] | None:
    """Where the student's symbols are in a bundle's, blank last; None where a symbol is missing or shows other text."""
    names = list(tokens.symbols)
    shown = set(range(len(names))) - {tokens.blank, *tokens.hidden}
    if tokens.separator is None:
        return None
    letters = {names[index]: index for index in shown - {tokens.separator}}
    if set(letters) != set(SYMBOLS) - {" "}:
        return None
    return [tokens.separator, *(letters[letter] for letter in SYMBOLS[1:]), tokens.blank]


def as_student_symbols(log_probs: Array, columns: Sequence[int]) -> Array:
    """[U, V] to the student's [U, 29]: what shows no text (the end of a sentence, say) counts as blank."""
    chosen = log_probs[:, columns]
    letters = np.exp(chosen[:, :BLANK]).sum(axis=1)
    chosen[:, BLANK] = np.log(np.maximum(1.0 - letters, np.exp(LEAST)))
    clipped: Array = np.maximum(chosen, LEAST).astype(np.float32)
    return clipped


def in_steps(log_probs: Array, milliseconds: int, steps: int) -> Array:
    """Emissions every so many milliseconds, [U, 29], as two of 20 ms a step of 40 ms, float32 [steps, 2, 29].

    Slower ones are held: CTC reads a symbol that lasts as one. Of faster ones the probabilities are averaged. After the
    last there is nothing, that is blank.
    """
    if milliseconds < EMISSION_MS:
        together = EMISSION_MS // milliseconds
        log_probs = log_probs[: len(log_probs) // together * together]
        parts = log_probs.reshape(-1, together, log_probs.shape[1])
        log_probs, milliseconds = np.log(np.exp(parts).mean(axis=1)), EMISSION_MS
    nothing = np.full((1, BLANK + 1), LEAST, np.float32)
    nothing[0, BLANK] = 0.0
    centres = np.arange(2 * steps) * EMISSION_MS + EMISSION_MS // 2
    at = np.minimum(centres // milliseconds, len(log_probs))
    held: Array = np.concatenate([log_probs, nothing])[at].reshape(steps, 2, -1).astype(np.float32)
    return held
